"""From media on a regular grid to the values that networks see, and back.

Shape letters: B items, C channels, H rows, W columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class GridPreparation(ABC):
    """From a medium to cells (C, H, W) of one size, to values around 0, and back."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Return (C, H, W)."""

    @abstractmethod
    def cells(self, media: Any) -> Tensor:
        """Return the cells (C, H, W) of a medium as it is stored, such as uint8 pixels."""

    @abstractmethod
    def normalise(self, cells: Tensor) -> Tensor:
        """Return float32 values (B, C, H, W) of cells, about as large as 1."""

    @abstractmethod
    def media(self, values: Tensor, *, truncates: bool = False) -> Sequence[Any]:
        """Return the media of values (B, C, H, W); `truncates` cuts whole numbers where others would round."""

    def difference(self, rebuilt: Tensor, cells: Tensor) -> Tensor:
        """Return how far what a codec rebuilt (B, C, H, W) is from cells, per item (B,): the mean absolute error."""
        return (rebuilt - self.normalise(cells).to(rebuilt.dtype)).abs().float().flatten(1).mean(1)


def channelwise(numbers: Sequence[float], like: Tensor) -> Tensor:
    """Return one number per channel as a tensor (C, 1, 1), float32."""
    return torch.tensor(numbers, dtype=torch.float32, device=like.device)[:, None, None]
