"""Starting parts of a pipeline from another checkpoint: what fits is taken, and what became of all of it is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from polyjanus.core.checkpoints.assigning import assign_tensors
from polyjanus.core.checkpoints.opening import Opened, open_checkpoint
from polyjanus.core.errors import CheckpointError, suggest
from polyjanus.core.model.unified import UnifiedModel
from polyjanus.core.registry import Registries
from polyjanus.core.sequence.spans import Vocabulary
from polyjanus.core.settings import locate

MARKS = "marks"


@dataclass(frozen=True)
class Started:
    """What became of one part: tensors taken, of another shape, and not in the checkpoint; whose marks are new."""

    path: str
    source: str
    reused: int
    unfit: tuple[str, ...]
    missing: tuple[str, ...]
    new_marks: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as one line."""
        line = f"{self.path} from {self.source}: {self.reused} tensors reused"
        for words, names in (("re-initialised, another shape", self.unfit), ("not in it", self.missing)):
            if names:
                line += f", {len(names)} {words} ({names[0]}{' …' if len(names) > 1 else ''})"
        return f"{line}; new marks: {', '.join(self.new_marks)}" if self.new_marks else line


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
    state = model.state_dict()
    wanted = {name: tensor for name, tensor in state.items() if name.startswith(f"{path}.")}
    if not wanted:
        raise CheckpointError(f"init_from: there is no part {path!r}{suggest(path, known, noun='parts')}")
    opened = open_checkpoint(locate(source, folder), registries)
    found = dict(opened.tensors(lambda name: name in wanted))
    if not found:
        raise CheckpointError(f"holds nothing of {path!r}", where=source, hint="`polyjanus inspect` lists its parts")
    fitting = {name: tensor for name, tensor in found.items() if tensor.shape == wanted[name].shape}
    new: tuple[str, ...] = ()
    if path == MARKS and isinstance(model, UnifiedModel):
        moved, new = _marks(model.vocabulary, wanted, found, opened)
        fitting |= moved
    assign_tensors(model, fitting.items(), device=torch.device("cpu"), dtype=torch.float32)
    unfit = tuple(sorted(set(found) - set(fitting)))
    return Started(path, source, len(fitting), unfit, tuple(sorted(set(wanted) - set(found))), new)


def _marks(
    vocabulary: Vocabulary, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], opened: Opened
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors of the marks in which those that the checkpoint has are its own, and whose are new.

    There is a row for each mark that the tokenizer lacks; which these are is told by the modalities that both write.
    """
    mine, theirs = list(_rows(vocabulary, list(vocabulary.begins))), list(_rows(vocabulary, opened.config.generated()))
    if mine == theirs or not set(mine) & set(theirs):
        return {}, ()
    if any(len(tensor) != len(theirs) or tensor.shape[1:] != wanted[name].shape[1:] for name, tensor in found.items()):
        return {}, ()
    moved = {name: wanted[name].clone() for name in found}
    for row, mark in enumerate(mine):
        if mark in theirs:
            for name, tensor in found.items():
                moved[name][row] = tensor[theirs.index(mark)]
    return moved, tuple(dict.fromkeys(modality for _, modality in mine if modality not in opened.config.generated()))


def _rows(vocabulary: Vocabulary, generated: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield what is in each row of the marks of a pipeline that writes some modalities: begin or end, and of which."""
    for modality in generated:
        for word, table in (("begin", vocabulary.begins), ("end", vocabulary.ends)):
            if table.get(modality, vocabulary.size) >= vocabulary.size:
                yield word, modality
