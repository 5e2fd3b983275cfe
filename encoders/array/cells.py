"""From arrays to the values that networks see, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polyjanus.encoders.array.media import GridArray
from polyjanus.encoders.shared.cells import GridPreparation


@dataclass(frozen=True)
class ArrayPreparation(GridPreparation):
    """Values as they are, and from `low` to `high` seen as -1 to 1; what lies outside is not cut."""

    size: tuple[int, int, int]
    low: float
    high: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (C, H, W)."""
        return self.size

    def cells(self, media: GridArray) -> Tensor:
        """Return the values (C, H, W), float32."""
        return torch.from_numpy(media.values.copy())

    def normalise(self, cells: Tensor) -> Tensor:
        """Return values (B, C, H, W), about -1 to 1."""
        return (cells.float() - self.low) / (self.high - self.low) * 2 - 1

    def media(self, values: Tensor, *, truncates: bool = False) -> Sequence[GridArray]:
        """Return the arrays of values (B, C, H, W)."""
        physical = (values.float() + 1) / 2 * (self.high - self.low) + self.low
        return [GridArray(item) for item in physical.cpu().numpy()]
