"""The checkpoints of a run: written whole, the newest kept, and the best one beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from polyjanus.core.checkpoints.atomic import atomic_dir, remove, tidy
from polyjanus.core.checkpoints.finding import BEST, CHECKPOINTS, complete
from polyjanus.core.config.schema import TrainingConfig
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.training.averaging import Average, applied
from polyjanus.core.training.sharding import Sharding
from polyjanus.core.training.state import Progress, write_state


class Saving:
    """Writes checkpoints of a pipeline under a run's folder; `fingerprint` gives the settings that made them."""

    def __init__(
        self,
        pipeline: Pipeline,
        config: TrainingConfig,
        folder: Path,
        sharding: Sharding,
        fingerprint: Callable[[], dict[str, Any]],
    ) -> None:
        self.pipeline, self.config, self.fingerprint = pipeline, config, fingerprint
        self.sharding, self.ranks = sharding, sharding.ranks
        self.home = folder / CHECKPOINTS
        self.last: int | None = None
        """The step of which a numbered checkpoint was last written."""

    def tidy(self) -> None:
        """Take away what an interrupted save left behind."""
        if self.ranks.is_first:
            tidy(self.home)

    def save(self, progress: Progress, optimizer: torch.optim.Optimizer, average: Average | None) -> None:
        """Write a checkpoint of this step, once; older ones beyond the number to keep go."""
        if self.last == progress.total:
            return
        self._write(self.home / f"step-{progress.total:07d}", progress, optimizer, average)
        self.last = progress.total
        if not self.ranks.is_first:
            return
        numbered = [path for _, path in complete(self.home) if path.name != BEST]
        for path in numbered[self.config.save.keep :]:
            remove(path)

    def save_best(self, progress: Progress, optimizer: torch.optim.Optimizer, average: Average | None) -> None:
        """Write the checkpoint that takes the place of the best so far."""
        self._write(self.home / BEST, progress, optimizer, average)

    def _write(
        self, target: Path, progress: Progress, optimizer: torch.optim.Optimizer, average: Average | None
    ) -> None:
        stages = self.config.stages
        training = {
            "stage": stages[min(progress.stage, len(stages) - 1)].name,
            "step": progress.total,
            "steps": sum(stage.steps for stage in stages),
        }
        if self.ranks.is_first:
            with atomic_dir(target, step=progress.total, training=training, **self.pipeline.manifest()) as draft:
                self._fill(draft, progress, optimizer, average)
            self.pipeline.plugins.manager.hook.checkpoint_saved(folder=target, step=progress.total)
        elif self.sharding.is_on:  # what lies in shards is gathered by all
            self._fill(None, progress, optimizer, average)
        self.ranks.wait()

    def _fill(
        self, draft: Path | None, progress: Progress, optimizer: torch.optim.Optimizer, average: Average | None
    ) -> None:
        """Write the files of a checkpoint, or only give what this process has of them."""
        with applied(average), self.sharding.gathered(self.pipeline.model):
            if draft is not None:
                self.pipeline.write(draft)
        state = self.sharding.state_of(optimizer)
        weights = None if average is None else {n: self.sharding.whole(v) for n, v in average.weights().items()}
        if draft is not None:
            write_state(draft, progress, state, self.fingerprint(), weights)
