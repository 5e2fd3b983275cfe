"""Understanding: thermal to features.

Shape letters: B items, C channels, H rows, W columns, N tokens, d width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from polyjanus.core.modules import Encoder


class ThermalEncoder(Encoder):
    """One token for every patch of cells, by two layers; items of equal shape are computed together."""

    def __init__(self, grid: Any, *, patch: int, width: int) -> None:
        super().__init__()
        self.grid, self.width = grid, width
        _, rows, columns = grid.shape
        self.places = (rows // patch, columns // patch)
        self.embedding = nn.Conv2d(grid.shape[0], width, patch, stride=patch)
        self.output = nn.Conv2d(width, width, 1)

    def prepare(self, media: Any) -> dict[str, Tensor]:
        """Return the cells (C, H, W); this runs where data are loaded, and draws no random numbers."""
        return {"cells": self.grid.cells(media)}

    def num_tokens(self, prepared: Any) -> tuple[int, tuple[int, ...]]:
        """Return how many features come out, and their grid."""
        return self.places[0] * self.places[1], self.places

    def forward_stacked(self, cells: Tensor) -> Tensor:
        """Return features (B, N, d) of cells (B, C, H, W)."""
        values = self.grid.normalise(cells).to(self.output.weight.dtype)
        hidden = nn.functional.gelu(self.embedding(values))
        return self.output(hidden).flatten(2).transpose(1, 2)
