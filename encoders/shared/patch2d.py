"""The torch side of `patch2d`: square patches of a grid become tokens of a small transformer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from polyjanus.core.modules import Encoder, Grid, Prepared
from polyjanus.encoders.shared.cells import GridPreparation
from polyjanus.encoders.shared.fsq2d import convolutional_encoder
from polyjanus.encoders.shared.transformer import TokenTransformer, sinusoids

NARROW = 32
"""Channels of the first convolution; those after it have twice as many."""


class Patch2dEncoder(Encoder):
    """One token per `patch` x `patch` cells of all channels, in raster order; what is missing at the end is zero.

    A patch is seen by one layer, or by convolutions that halve the grid until a patch is one cell, and which see over
    its edges (arXiv 2106.14881).
    """

    def __init__(
        self,
        preparation: GridPreparation,
        *,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        has_convolutions: bool = False,
    ) -> None:
        super().__init__()
        self.preparation, self.patch, self.width = preparation, patch, width
        channels, height, columns = preparation.shape
        self.grid: Grid = (-(-height // patch), -(-columns // patch))
        self.missing = (0, -columns % patch, 0, -height % patch)
        self.has_convolutions = has_convolutions
        if has_convolutions:
            self.embedding: nn.Module = convolutional_encoder(channels, NARROW, patch.bit_length() - 1, width)
        else:
            self.embedding = nn.Linear(channels * patch * patch, width)
        self.transformer = TokenTransformer(width, depth, heads)

    def prepare(self, media: Any) -> Prepared:
        """Return the cells (C, H, W)."""
        return {"cells": self.preparation.cells(media)}

    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return the number of patches and their grid."""
        return self.grid[0] * self.grid[1], self.grid

    def forward_stacked(self, cells: Tensor) -> Tensor:
        """Return features (B, N, d) of cells (B, C, H, W)."""
        values = self.preparation.normalise(cells).to(self.transformer.norm.weight.dtype)
        tokens = self._embedded(nn.functional.pad(values, self.missing))
        rows = torch.arange(self.grid[0], device=cells.device).repeat_interleave(self.grid[1])
        columns = torch.arange(self.grid[1], device=cells.device).repeat(self.grid[0])
        half = self.width // 2
        places = torch.cat([sinusoids(rows, half), sinusoids(columns, self.width - half)], dim=-1)
        return self.transformer(tokens + places.to(tokens.dtype))

    def _embedded(self, values: Tensor) -> Tensor:
        """Return tokens (B, N, d) of values (B, C, H, W) whose sides are whole patches."""
        if self.has_convolutions:
            return self.embedding(values).flatten(2).transpose(1, 2)
        return self.embedding(nn.functional.unfold(values, self.patch, stride=self.patch).transpose(1, 2))
