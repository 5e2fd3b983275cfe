"""Starting parts of a pipeline from another checkpoint: what fits is taken, and what became of all of it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from polyjanus.core.checkpoints.assigning import assign_tensors
from polyjanus.core.checkpoints.opening import open_checkpoint
from polyjanus.core.errors import CheckpointError, suggest
from polyjanus.core.registry import Registries
from polyjanus.core.settings import locate


@dataclass(frozen=True)
class Started:
    """What became of one part: tensors taken, of another shape, and not in the checkpoint."""

    path: str
    source: str
    reused: int
    unfit: tuple[str, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        """Return it as one line."""
        line = f"{self.path} from {self.source}: {self.reused} tensors reused"
        for words, names in (("re-initialised, another shape", self.unfit), ("not in it", self.missing)):
            if names:
                line += f", {len(names)} {words} ({names[0]}{' …' if len(names) > 1 else ''})"
        return line


def start_from(
    model: nn.Module, sources: Mapping[str, str], folder: Path, registries: Registries, known: Sequence[str] = ()
) -> tuple[Started, ...]:
    """Give every part, by path or prefix, the tensors that a checkpoint has for it; paths start at `folder`.

    `known` are the component paths, for a name that is none of them.
    """
    return tuple(_start(model, path, source, folder, registries, known) for path, source in sources.items())


def _start(
    model: nn.Module, path: str, source: str, folder: Path, registries: Registries, known: Sequence[str]
) -> Started:
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items() if name.startswith(f"{path}.")}
    if not wanted:
        raise CheckpointError(f"init_from: there is no part {path!r}{suggest(path, known, noun='parts')}")
    opened = open_checkpoint(locate(source, folder), registries)
    found = dict(opened.tensors(lambda name: name in wanted))
    if not found:
        raise CheckpointError(f"holds nothing of {path!r}", where=source, hint="`polyjanus inspect` lists its parts")
    fitting = {name: tensor for name, tensor in found.items() if tensor.shape == wanted[name]}
    assign_tensors(model, fitting.items(), device=torch.device("cpu"), dtype=torch.float32)
    unfit = tuple(sorted(set(found) - set(fitting)))
    return Started(path, source, len(fitting), unfit, tuple(sorted(set(wanted) - set(found))))
