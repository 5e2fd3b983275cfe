"""Embeddings that were computed before: what a YAML may say about them. Importing this loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from polyjanus.core.errors import WiringError
from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, EncoderConfig, ModalityConfig

if TYPE_CHECKING:
    from polyjanus.encoders.features.encoder import StoredFeatures
    from polyjanus.encoders.features.media import FeaturesModality


class FeaturesModalityConfig(ModalityConfig):
    """Embeddings of anything, computed once by any model and stored: only the adaptor is left to train."""

    example_settings = {"width": 32}

    type: Literal["features"]
    width: int = Field(gt=0, description="values per embedding")
    max_tokens: int = Field(default=4096, gt=0, description="embeddings of one item, at most")
    max_bytes: int = Field(default=100_000_000, gt=0, description="bytes of a file, at most")

    def build(self, context: BuildContext) -> FeaturesModality:
        """Return what loads and saves embeddings."""
        from polyjanus.encoders.features.media import FeaturesModality

        return FeaturesModality(context.path, self)


class FeaturesConfig(EncoderConfig):
    """The embeddings as they are stored; nothing is computed."""

    modality_types = ("features",)

    type: Literal["features"]

    def build(self, context: BuildContext) -> StoredFeatures:
        """Return the encoder, which has no weights."""
        from polyjanus.encoders.features.encoder import StoredFeatures

        width = getattr(getattr(context.modality, "settings", None), "width", None)
        if width is None:
            raise WiringError("the modality declares no 'width' of embeddings", paths=[context.path])
        return StoredFeatures(width)


@hookimpl
def register(registries: Registries) -> None:
    """Offer stored embeddings."""
    registries.modalities.add(FeaturesModalityConfig)
    registries.encoders.add(FeaturesConfig)
