"""What the pretrained encoders of pictures share: a tower of transformers over the patches of a square."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from PIL import Image
from torch import Tensor

from polyjanus.core.modules import Encoder, Grid, Prepared
from polyjanus.encoders.image.pixels import Preparation
from polyjanus.encoders.shared.checkpoints import reset_tower


class TowerEncoder(Encoder):
    """One feature per patch, in raster order."""

    tower: Any
    preparation: Preparation
    grid: Grid

    @abstractmethod
    def features(self, values: Tensor) -> Tensor:
        """Return features (B, N, d) of normalised values (B, 3, H, W)."""

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        reset_tower(self.tower)

    def prepare(self, media: Image.Image) -> Prepared:
        """Return the pixels (3, H, W), uint8."""
        return {"pixels": self.preparation.cells(media)}

    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return the number of patches and their grid."""
        return self.grid[0] * self.grid[1], self.grid

    def forward_stacked(self, pixels: Tensor) -> Tensor:
        """Return features (B, N, d) of uint8 pixels (B, 3, H, W)."""
        return self.features(self.preparation.normalise(pixels))
