"""What codecs of grids share: cells of one size, a grid of codes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from polyjanus.core.errors import SequenceError
from polyjanus.core.modules import Grid, Prepared, in_groups
from polyjanus.encoders.shared.cells import GridPreparation
from polyjanus.encoders.shared.feature_codec import FeatureCodec, FeatureKind


class GridCodec(FeatureCodec):
    """Cells to latents (B, d, h, w), a code of each of K books per cell in raster order, and back."""

    grid: Grid
    """Rows and columns of the codes."""
    num_codebooks = 1
    truncates: ClassVar[bool] = False
    """Whether values are cut to whole numbers, not rounded."""

    def __init__(self, preparation: GridPreparation, downsample: int) -> None:
        super().__init__()
        self.preparation = preparation
        _, height, width = preparation.shape
        self.grid = (height // downsample, width // downsample)
        self.max_codes = self.min_codes = self.grid[0] * self.grid[1]

    @abstractmethod
    def to_latents(self, values: Tensor) -> Tensor:
        """Return latents (B, d, h, w) of normalised values (B, C, H, W)."""

    @abstractmethod
    def quantise(self, latents: Tensor) -> Tensor:
        """Return codes (B, h, w), of several books (B, h, w, K), of latents (B, d, h, w)."""

    @abstractmethod
    def vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors (…, d) of codes (…), of several books (…, K)."""

    @abstractmethod
    def to_values(self, vectors: Tensor) -> Tensor:
        """Return normalised values (B, C, H, W) of vectors (B, d, h, w)."""

    def prepare(self, media: Any) -> Prepared:
        """Return the cells (C, H, W)."""
        return {"cells": self.preparation.cells(media)}

    def num_codes(self, prepared: Prepared) -> int:
        """Return the number of codes, the same for every item."""
        return self.max_codes

    def normalise(self, cells: Tensor) -> Tensor:
        """Return values (B, C, H, W) of cells, in the dtype of the codec."""
        return self.preparation.normalise(cells).to(next(self.parameters()).dtype)

    def features(self, output: FeatureKind, *, cells: Tensor) -> Tensor:
        """Return features (B, h · w, d) of cells (B, C, H, W)."""
        latents = self.to_latents(self.normalise(cells))
        if output == "latents":
            return latents.flatten(2).transpose(1, 2)
        return self.vectors(self.quantise(latents)).flatten(1, 2)

    @torch.no_grad()
    def encode(self, items: Sequence[Prepared]) -> list[Tensor]:
        """Return the codes (h · w, K) of each item."""
        return in_groups(items, self._encode_stacked, self)

    @torch.no_grad()
    def decode(self, codes: Sequence[Tensor]) -> list[Any]:
        """Return the medium for the codes (h · w, K) of each item."""
        if not codes:
            return []
        wrong = {item.shape[0] for item in codes} - {self.max_codes}
        if wrong:
            raise SequenceError(f"an item has {self.max_codes} codes, here are {sorted(wrong)[0]}")
        grids = torch.stack(list(codes)).unflatten(1, self.grid)
        grids = grids[..., 0] if self.num_codebooks == 1 else grids
        vectors = self.vectors(grids.to(next(self.parameters()).device)).movedim(-1, 1)
        return list(self.preparation.media(self.to_values(vectors), truncates=self.truncates))

    def _encode_stacked(self, cells: Tensor) -> Tensor:
        codes = self.quantise(self.to_latents(self.normalise(cells)))
        return codes.reshape(len(cells), -1, self.num_codebooks)
