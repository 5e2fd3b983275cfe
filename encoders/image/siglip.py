"""The torch side of `siglip`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image
from torch import Tensor

from polyjanus.core.errors import WiringError
from polyjanus.core.modules import Encoder, Grid, Prepared
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.image.pixels import Preparation
from polyjanus.encoders.shared.checkpoints import build_tower, reset_tower

MODEL_TYPE = "siglip_vision_model"


class SiglipEncoder(Encoder):
    """The last hidden states of a SigLIP tower, normalised; Janus' SigLIP has `hidden_act` 'gelu'."""

    def __init__(
        self, architecture: dict[str, Any], preparation: Callable[[int], Preparation], context: BuildContext
    ) -> None:
        super().__init__()
        if architecture.get("model_type", MODEL_TYPE) != MODEL_TYPE:
            raise WiringError(
                f"'siglip' takes SigLIP of fixed resolution, not {architecture['model_type']!r}",
                paths=[context.path],
                hint="other vision transformers load as 'hf_vision'",
            )
        self.tower = build_tower(architecture, context, MODEL_TYPE)
        config = self.tower.config
        self.width = config.hidden_size
        self.preparation = preparation(config.image_size)
        side = config.image_size // config.patch_size
        self.grid: Grid = (side, side)

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

    def features(self, values: Tensor) -> Tensor:
        """Return features (B, N, d) of normalised values (B, 3, H, W)."""
        return self.tower(pixel_values=values.to(self.tower.dtype)).last_hidden_state
