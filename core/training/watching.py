"""Losses and gradients that are NaN or infinite: written down with their rows, and stopped at or left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from polyjanus.core.config.schema import NonFiniteConfig
from polyjanus.core.errors import TrainingError
from polyjanus.core.model.unified import Sums
from polyjanus.core.training.log import append

SHOWN = 8
"""Rows that a message names, at most."""
NON_FINITE = "nonfinite.jsonl"
"""Where such steps are listed in a run."""
BUDGET_STEPS = 1000


class Watch:
    """Looks at every loss and gradient before the weights are touched; `folder` is where it writes, if it does."""

    def __init__(self, config: NonFiniteConfig, folder: Path | None) -> None:
        self.config, self.folder = config, folder
        self.skipped: list[int] = []
        """Recent steps that were left out."""

    def is_finite(self, what: str, value: Tensor, where: str, total: int, places: Sequence[str], sums: Sums) -> bool:
        """Tell whether a loss or a gradient of step `total` may be used.

        One that may not is written down with the rows of the step and the heads whose losses are not finite; unless
        the settings leave such steps out, and there were few of late, it is a TrainingError.
        """
        if bool(torch.isfinite(value)):
            return True
        heads = [name for name, (loss, _) in sums.items() if not bool(torch.isfinite(loss))]
        fault = f"the {what} of {where} is {float(value)}" + (f", that of {', '.join(heads)}" if heads else "")
        if self.folder is not None:
            append(self.folder / NON_FINITE, {"total": total, "what": what, "heads": heads, "rows": list(places)})
        if self.config.action == "skip":
            self.skipped = [step for step in [*self.skipped, total] if step > total - BUDGET_STEPS]
            if len(self.skipped) <= self.config.budget:
                return False
            fault += f"; such steps of the last {BUDGET_STEPS}: {len(self.skipped)}"
        rows = ", ".join(places[:SHOWN]) + (" …" if len(places) > SHOWN else "")
        raise TrainingError(
            f"{fault}; its rows: {rows}",
            hint=f"lower the learning rate, or look at these rows, which the run lists in {NON_FINITE};"
            " 'training.nonfinite: {action: skip}' leaves such steps out",
        )
