"""What a codec offers whose inside another pathway may read, through the encoder `codec_features`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

from torch import Tensor

from polyjanus.core.modules import Codec, Grid

FeatureKind = Literal["codes", "latents"]
"""The vectors of the codes, or what they were rounded from."""


class FeatureCodec(Codec):
    """A codec with a vector for every code, and latents that were rounded to it."""

    latent_width: int
    """Width d of the latents and of the vectors of the codes."""
    grid: Grid | None = None
    """How the codes of an item are laid out, in raster order, where all items have one grid."""

    @abstractmethod
    def features(self, output: FeatureKind, **prepared: Tensor) -> Tensor:
        """Return features (B, N, d) of items whose prepared tensors come stacked, by name."""
