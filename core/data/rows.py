"""Sources of rows; a row is `{"messages": […]}`, made of a number and noise alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyjanus.core.errors import DataError

Row = Mapping[str, Any]
"""`{"messages": […]}`, with whatever else the source wants to tell an evaluation."""


class Source(ABC):
    """A data set with random access."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def row(self, index: int, noise: np.random.Generator) -> Row:
        """Return one row; all that is random in it, such as augmentation, comes from `noise`."""

    def place(self, index: int) -> str:
        """Return where a person finds a row."""
        return f"row {index}"

    def group(self, index: int) -> str | None:
        """Return what a row is held out together with, such as `subject 01`; None where rows stand alone."""
        return None


@dataclass(frozen=True)
class Split:
    """The rows of a source that are trained on, or those held out for validation."""

    name: str
    source: Source
    indices: np.ndarray[tuple[int], np.dtype[np.int64]]

    def __len__(self) -> int:
        """Return the number of rows of the split."""
        return len(self.indices)

    def place(self, index: int) -> str:
        """Return where a person finds a row of the split: the source's name, and its own word for the place."""
        return f"{self.name}: {self.source.place(int(self.indices[index]))}"

    def row(self, index: int, noise: np.random.Generator) -> Row:
        """Return one row of the split; an error names the source and the row."""
        try:
            return self.source.row(int(self.indices[index]), noise)
        except Exception as error:
            raise DataError(str(error), where=self.place(index)) from error


def split(name: str, source: Source, validation: float, seed: int) -> tuple[Split, Split]:
    """Return the training and the validation rows, drawn once with a seed of their own.

    Where the source has groups, whole groups are held out, and `validation` is a share of them.
    """
    total = len(source)
    if total == 0:
        raise DataError(f"data set {name!r} has no rows")
    groups = [source.group(index) for index in range(total)] if validation > 0 else []
    if any(group is not None for group in groups):
        held = _held_out_groups(name, groups, validation, seed)
        is_held = np.array([group in held for group in groups])
        return Split(name, source, np.flatnonzero(~is_held)), Split(name, source, np.flatnonzero(is_held))
    order = np.random.default_rng([seed, 0]).permutation(total)
    held_out = round(validation * total)
    if validation > 0 and not 0 < held_out < total:
        raise DataError(f"data set {name!r} has {total} rows; {validation} of them leaves a side with none")
    return Split(name, source, np.sort(order[held_out:])), Split(name, source, np.sort(order[:held_out]))


def _held_out_groups(name: str, groups: Sequence[str | None], validation: float, seed: int) -> set[str]:
    """Return the groups that are held out: about a share of them, at least one and not all, whatever their order."""
    known = sorted({group for group in groups if group is not None})
    alone = groups.count(None)
    if alone or len(known) < 2:
        found = f"{alone} rows of no group beside {known[0]!r}" if alone else f"1 group of rows, {known[0]!r}"
        raise DataError(
            f"data set {name!r} has {found}; whole groups are held out, so it takes 2 or more",
            hint="add another, set 'validation: 0', or split by row where the source can, as with 'split: trial'",
        )
    order = np.random.default_rng([seed, 0]).permutation(len(known))
    count = min(max(round(validation * len(known)), 1), len(known) - 1)
    return {known[int(index)] for index in order[:count]}
