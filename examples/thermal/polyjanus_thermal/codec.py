"""Generation: thermal to codes and back.

Shape letters: B items, C channels, H rows, W columns, N codes, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from polyjanus.core.codecs import StackedCodec
from polyjanus.encoders.shared.fsq import FiniteScalars

WIDTH = 64


class ThermalCodec(StackedCodec):
    """One code for every patch of cells, by finite scalar quantisation (arXiv 2309.15505)."""

    def __init__(self, grid: Any, levels: Sequence[int], *, patch: int) -> None:
        super().__init__()
        channels, rows, columns = grid.shape
        self.grid, self.scalars = grid, FiniteScalars(levels)
        self.places = (rows // patch, columns // patch)
        self.cardinality = self.scalars.cardinality
        self.max_codes = self.min_codes = self.places[0] * self.places[1]
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, WIDTH, patch, stride=patch), nn.GELU(), nn.Conv2d(WIDTH, len(levels), 1)
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(len(levels), WIDTH, 3, padding=1),
            nn.GELU(),
            nn.ConvTranspose2d(WIDTH, channels, patch, stride=patch),
        )

    def prepare(self, media: Any) -> dict[str, Tensor]:
        """Return the cells (C, H, W)."""
        return {"cells": self.grid.cells(media)}

    def num_codes(self, prepared: Any) -> int:
        """Return N, the same for every item."""
        return self.max_codes

    def encode_stacked(self, cells: Tensor) -> Tensor:
        """Return codes (B, N, 1) of cells (B, C, H, W)."""
        return self.scalars.codes(self._vectors(self._values(cells))).flatten(1).unsqueeze(-1)

    def decode_stacked(self, codes: Tensor) -> Sequence[Any]:
        """Return the media of codes (B, N, 1)."""
        vectors = self.scalars.vectors(codes.squeeze(-1).unflatten(1, self.places))
        return self.grid.media(self._rebuilt(vectors.to(next(self.parameters()).dtype)))

    def loss_stacked(self, cells: Tensor) -> Tensor:
        """Return the mean squared error of each item (B,)."""
        values = self._values(cells)
        return (self._rebuilt(self._vectors(values)) - values).square().flatten(1).mean(1)

    def _values(self, cells: Tensor) -> Tensor:
        """Return values (B, C, H, W), about -1 to 1, in the dtype of the weights."""
        return self.grid.normalise(cells).to(next(self.parameters()).dtype)

    def _vectors(self, values: Tensor) -> Tensor:
        """Return quantised vectors (B, h, w, L), which gradients pass straight through."""
        return self.scalars.quantise(self.encoder(values).movedim(1, -1))

    def _rebuilt(self, vectors: Tensor) -> Tensor:
        return self.decoder(vectors.movedim(-1, 1))
