"""The torch side of `codec_features`: a codec that another pathway owns, used as an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from polyjanus.core.errors import WiringError, suggest
from polyjanus.core.modules import Codec, Encoder, Features, Grid, Prepared, in_groups
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.shared.feature_codec import FeatureCodec, FeatureKind


class CodecFeatures(Encoder):
    """Features of a codec's codes or latents; the codec is no submodule, so it is saved and counted once."""

    def __init__(self, codec: FeatureCodec, output: FeatureKind) -> None:
        super().__init__()
        self._codec = (codec,)  # in a tuple, where torch does not see it
        self.output: FeatureKind = output
        self.width = codec.latent_width

    @property
    def codec(self) -> FeatureCodec:
        """Return the shared codec."""
        return self._codec[0]

    def prepare(self, media: Any) -> Prepared:
        """Return what the codec prepares."""
        return self.codec.prepare(media)

    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return the number of codes and their grid."""
        return self.codec.num_codes(prepared), self.codec.grid

    def forward(self, items: Sequence[Prepared]) -> Features:
        """Return features (ΣN, d), on the codec's device."""
        values = in_groups(items, self.forward_stacked, self.codec)
        grid = self.codec.grid
        return Features.of(values, None if grid is None else [grid] * len(items))

    def forward_stacked(self, **prepared: Tensor) -> Tensor:
        """Return features (B, N, d) of what the codec prepared."""
        return self.codec.features(self.output, **prepared)


def find_codec(path: str, context: BuildContext) -> FeatureCodec:
    """Return the codec at a component path; what is not there, or has no latents, is a WiringError."""
    codecs = {name: part for name, part in context.parts.items() if isinstance(part, Codec)}
    if path not in codecs:
        raise WiringError(f"there is no codec {path!r}{suggest(path, codecs, noun='codecs')}", paths=[context.path])
    codec = codecs[path]
    if not isinstance(codec, FeatureCodec):
        raise WiringError(
            f"the codec {path!r} has no features that could be shared: it is no FeatureCodec",
            paths=[context.path, path],
        )
    return codec
