"""Features, the only ragged type that passes between components, and items computed together where shapes allow.

Shape letters: B items, N positions, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Prepared = Mapping[str, Tensor]
"""One medium made ready by `prepare`: named tensors."""
Grid = tuple[int, ...]
"""How positions are laid out, such as (rows, columns); raster order."""


@dataclass(frozen=True)
class Kept:
    """What a component once gave for an item, in place of what would be prepared: codes (N, K) or features (N, d)."""

    values: Tensor
    grid: Grid | None = None


Item = Prepared | Kept
"""One item of a sequence."""


@dataclass(frozen=True)
class Features:
    """Features of several items: `values` (ΣN, d), one item after the other, `lengths` (B,) as integers."""

    values: Tensor
    lengths: tuple[int, ...]
    grids: tuple[Grid, ...] | None = None

    @classmethod
    def of(cls, items: Sequence[Tensor], grids: Sequence[Grid] | None = None) -> Features:
        """Return the features of items (N, d) given one by one."""
        lengths = tuple(item.shape[0] for item in items)
        return cls(torch.cat(list(items)), lengths, None if grids is None else tuple(grids))

    def split(self) -> list[Tensor]:
        """Return one tensor (N, d) per item."""
        return list(torch.split(self.values, list(self.lengths)))


def group_equal_shapes(items: Sequence[Prepared]) -> list[tuple[list[int], dict[str, Tensor]]]:
    """Return groups of items whose tensors have equal shapes: their indices, and the tensors stacked (B, …)."""
    groups: dict[tuple[tuple[str, torch.Size], ...], list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(tuple((name, value.shape) for name, value in item.items()), []).append(index)
    return [
        (indices, {name: torch.stack([items[i][name] for i in indices]) for name in items[indices[0]]})
        for indices in groups.values()
    ]


def in_groups(items: Sequence[Prepared], function: Callable[..., Tensor], module: nn.Module) -> list[Tensor]:
    """Return one result per item, in order, calling `function(**stacked)` -> (B, …) once per group of equal shapes.

    Floating tensors are given the dtype of the module, and all of them its device.
    """
    results: list[Tensor] = [torch.empty(0)] * len(items)
    for indices, stacked in group_equal_shapes(items):
        outputs = function(**{name: _like(value, module) for name, value in stacked.items()})
        for index, output in zip(indices, outputs.unbind(), strict=True):
            results[index] = output
    return results


def _like(value: Tensor, module: nn.Module) -> Tensor:
    parameter = next(module.parameters(), None)
    if parameter is None:
        return value
    return value.to(parameter.device, parameter.dtype if value.is_floating_point() else None)
