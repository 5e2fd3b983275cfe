"""Images: what a YAML may say about them. Importing this loads neither torch nor PIL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import (
    BuildContext,
    CodecConfig,
    EncoderConfig,
    ModalityConfig,
    PretrainedSettings,
    Settings,
)

if TYPE_CHECKING:
    from polyjanus.encoders.image.hf_vision import HfVisionEncoder
    from polyjanus.encoders.image.media import ImageModality
    from polyjanus.encoders.image.pixels import Preparation
    from polyjanus.encoders.image.siglip import SiglipEncoder
    from polyjanus.encoders.image.vq16 import Vq16Codec

Rgb = Annotated[tuple[float, float, float], Field(strict=False)]
Colour = Annotated[
    tuple[
        Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]
    ],
    Field(strict=False),
]
HALF = (0.5, 0.5, 0.5)
IMAGES = ("image",)


class ImageConfig(ModalityConfig):
    """Pictures: still, RGB, eight bits per channel."""

    behaves_like = ("grid",)

    type: Literal["image"]
    max_pixels: int = Field(default=50_000_000, gt=0, description="pixels of a picture, at most")
    max_bytes: int = Field(default=100_000_000, gt=0, description="bytes of a file, at most")

    def build(self, context: BuildContext) -> ImageModality:
        """Return what loads and saves pictures."""
        from polyjanus.encoders.image.media import ImageModality

        return ImageModality(context.path, self)


class PreparationSettings(Settings):
    """How a picture of any size becomes the square that a network takes."""

    resize: Literal["pad", "crop", "stretch"] = Field(
        default="pad",
        description="'pad' fits the long side and pads the rest, 'crop' fits the short side and cuts the rest,"
        " 'stretch' changes the proportions",
    )
    background: Colour | None = Field(default=None, description="0 to 255, of the padding; the mean when absent")
    mean: Rgb = Field(default=HALF, description="0 to 1, taken from each channel")
    std: Rgb = Field(default=HALF, description="0 to 1, divides each channel afterwards")

    @field_validator("std")
    @classmethod
    def _divides(cls, std: Rgb) -> Rgb:
        if min(std) <= 0:
            raise PydanticCustomError("std", "must be greater than zero")
        return std

    def preparation(self, size: int) -> Preparation:
        """Return what prepares pictures for a network that takes `size` pixels a side."""
        from polyjanus.encoders.image.pixels import Preparation

        return Preparation(size, resize=self.resize, background=self.background, mean=self.mean, std=self.std)


class SiglipConfig(EncoderConfig, PretrainedSettings, PreparationSettings):
    """SigLIP and SigLIP 2 of fixed resolution: one feature per patch, no pooling (arXiv 2303.15343, 2502.14786)."""

    modality_types = IMAGES

    type: Literal["siglip"]

    def resolve(self, context: BuildContext) -> Self:
        """Return these settings with the architecture of the checkpoint that they name."""
        from polyjanus.encoders.shared.checkpoints import read_architecture, resolved

        return resolved(self, read_architecture(self.pretrained, context, "vision_config")) if self.pretrained else self

    def build(self, context: BuildContext) -> SiglipEncoder:
        """Return the encoder, its weights fresh."""
        from polyjanus.encoders.image.siglip import SiglipEncoder

        architecture = self.resolve(context).architecture or {}
        return SiglipEncoder(architecture, self.preparation, context)

    def load(self, component: Any, context: BuildContext) -> None:
        """Fill the encoder with the weights of `pretrained`."""
        from polyjanus.encoders.shared.checkpoints import load_tower

        if self.pretrained:
            load_tower(component.tower, self.pretrained, context)


class HfVisionConfig(EncoderConfig, PretrainedSettings, PreparationSettings):
    """Any vision transformer of transformers (DINOv2, CLIP, ViT …): one feature per patch, class tokens dropped."""

    modality_types = IMAGES

    type: Literal["hf_vision"]
    size: int | None = Field(default=None, gt=0, description="pixels a side; the checkpoint's own when absent")
    layer: int = Field(default=-1, le=-1, description="hidden state to use: -1 the last, -2 the one before (LLaVA)")

    def resolve(self, context: BuildContext) -> Self:
        """Return these settings with the architecture, mean and std of the checkpoint that they name."""
        from polyjanus.encoders.shared.checkpoints import read_architecture, read_normalisation, resolved

        if not self.pretrained:
            return self
        known = {} if "mean" in self.model_fields_set else read_normalisation(self.pretrained, context)
        return resolved(self, read_architecture(self.pretrained, context, "vision_config"), **known)

    def build(self, context: BuildContext) -> HfVisionEncoder:
        """Return the encoder, its weights fresh."""
        from polyjanus.encoders.image.hf_vision import HfVisionEncoder

        settings = self.resolve(context)
        return HfVisionEncoder(
            settings.architecture or {}, settings.preparation, context, size=self.size, layer=self.layer
        )

    def load(self, component: Any, context: BuildContext) -> None:
        """Fill the encoder with the weights of `pretrained`."""
        from polyjanus.encoders.shared.checkpoints import load_tower

        if self.pretrained:
            load_tower(component.tower, self.pretrained, context)


class Vq16Config(CodecConfig, PretrainedSettings, PreparationSettings):
    """The tokenizer that Janus draws with: vector quantisation, 16 pixels a code side (LlamaGen, arXiv 2406.06525)."""

    modality_types = IMAGES

    type: Literal["vq16"]
    architecture: dict[str, Any] | None = Field(
        default=None, description="changes to Janus' own; transformers' names (janus_vqgan); {} for none"
    )
    resize: Literal["pad", "crop", "stretch"] = Field(
        default="crop", description="'crop' fits the short side and cuts the rest, as Janus was trained"
    )

    def resolve(self, context: BuildContext) -> Self:
        """Return these settings with the architecture of the checkpoint that they name."""
        from polyjanus.encoders.image.vq16 import read_architecture
        from polyjanus.encoders.shared.checkpoints import resolved

        return resolved(self, read_architecture(self.pretrained, context)) if self.pretrained else self

    def build(self, context: BuildContext) -> Vq16Codec:
        """Return the codec, its weights fresh."""
        from polyjanus.encoders.image.vq16 import Vq16Codec

        return Vq16Codec(self.resolve(context).architecture or {}, self.preparation, context)

    def load(self, component: Any, context: BuildContext) -> None:
        """Fill the codec with the weights of `pretrained`."""
        from polyjanus.encoders.image.vq16 import load_codec

        if self.pretrained:
            load_codec(component, self.pretrained, context)


@hookimpl
def register(registries: Registries) -> None:
    """Offer images, their encoders and their codecs."""
    registries.modalities.add(ImageConfig)
    registries.encoders.add(SiglipConfig)
    registries.encoders.add(HfVisionConfig)
    registries.codecs.add(Vq16Config)
