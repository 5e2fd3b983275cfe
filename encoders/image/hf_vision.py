"""The torch side of `hf_vision`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from polyjanus.core.errors import WiringError
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.image.pixels import Preparation
from polyjanus.encoders.image.tower import TowerEncoder
from polyjanus.encoders.shared.checkpoints import build_tower, side_of


class HfVisionEncoder(TowerEncoder):
    """The patch features of a vision transformer; class and register tokens, which come first, are dropped."""

    def __init__(
        self,
        architecture: dict[str, Any],
        preparation: Callable[[int], Preparation],
        context: BuildContext,
        *,
        size: int | None,
        layer: int,
    ) -> None:
        super().__init__()
        self.tower = build_tower(architecture, context)
        self.path = context.path
        self.layer = layer
        config = self.tower.config
        size = size or side_of(config, "image_size", context)
        patch = side_of(config, "patch_size", context)
        self.width = config.hidden_size
        if size % patch:
            raise WiringError(
                f"size {size} is no multiple of the patch size {patch}",
                paths=[context.path],
                hint=f"set 'size' to {size // patch * patch or patch}",
            )
        self.preparation = preparation(size)
        self.grid = (size // patch, size // patch)
        self.interpolates = size != config.image_size and _can_interpolate(self.tower)

    def features(self, values: Tensor) -> Tensor:
        """Return features (B, N, d) of normalised values (B, 3, H, W)."""
        extra = {"interpolate_pos_encoding": True} if self.interpolates else {}
        wants_all = self.layer != -1
        output = self.tower(pixel_values=values.to(self.tower.dtype), output_hidden_states=wants_all, **extra)
        hidden = output.hidden_states[self.layer] if wants_all else output.last_hidden_state
        count = self.grid[0] * self.grid[1]
        if hidden.ndim != 3 or hidden.shape[1] < count:
            raise WiringError(
                f"{self.path}: the tower gives {tuple(hidden.shape)}, expected (B, at least {count}, {self.width})",
                paths=[self.path],
            )
        return hidden[:, -count:]


def _can_interpolate(tower: Any) -> bool:
    return "interpolate_pos_encoding" in inspect.signature(tower.forward).parameters
