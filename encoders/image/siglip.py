"""The torch side of `siglip`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from polyjanus.core.errors import WiringError
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.image.pixels import Preparation
from polyjanus.encoders.image.tower import TowerEncoder
from polyjanus.encoders.shared.checkpoints import build_tower

MODEL_TYPE = "siglip_vision_model"


class SiglipEncoder(TowerEncoder):
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
        self.grid = (side, side)

    def features(self, values: Tensor) -> Tensor:
        """Return features (B, N, d) of normalised values (B, 3, H, W)."""
        return self.tower(pixel_values=values.to(self.tower.dtype)).last_hidden_state
