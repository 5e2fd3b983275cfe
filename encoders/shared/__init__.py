"""What modalities share, so that none imports another: encoders and codecs of signals and of grids, checkpoints.

`patch1d` and `fsq1d` work on every modality that behaves like a signal; `patch2d` and `fsq2d` on every one that
behaves like a grid, a plugin's own included; `codec_features` and `hf_auto` on both. Importing this loads no torch.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from polyjanus.core.errors import WiringError
from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, CodecConfig, EncoderConfig, Ints, Settings

if TYPE_CHECKING:
    from polyjanus.encoders.shared.codec_features import CodecFeatures
    from polyjanus.encoders.shared.fsq1d import Fsq1dCodec
    from polyjanus.encoders.shared.fsq2d import Fsq2dCodec
    from polyjanus.encoders.shared.grids import GridModality
    from polyjanus.encoders.shared.patch1d import Patch1dEncoder
    from polyjanus.encoders.shared.patch2d import Patch2dEncoder
    from polyjanus.encoders.shared.signals import SignalModality

SIGNALS = ("signal",)
GRIDS = ("grid",)


class TransformerSettings(Settings):
    """The size of a small transformer that is trained from scratch."""

    width: int = Field(default=128, gt=0, description="width of the features")
    depth: int = Field(default=2, ge=0, description="transformer layers")
    heads: int = Field(default=4, gt=0, description="attention heads; they divide the width")

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.heads:
            text = f"{self.heads} heads do not divide a width of {self.width}"
            raise PydanticCustomError("heads", "{text}", {"text": text})
        return self


class QuantiserSettings(Settings):
    """Finite scalar quantisation."""

    levels: Ints = Field(default=(8, 8, 8), min_length=1, description="values per dimension; their product: codes")

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        if min(self.levels) < 2:
            raise PydanticCustomError("levels", "every level needs at least 2 values")
        return self


class RateSettings(Settings):
    """The rate at which a network sees a signal."""

    sample_rate: float | None = Field(default=None, gt=0, description="Hz; the modality's own when absent")


class Patch1dConfig(EncoderConfig, TransformerSettings, RateSettings):
    """A small transformer over stretches of a signal, all channels together; trained from scratch."""

    modality_types = SIGNALS

    type: Literal["patch1d"]
    patch: int = Field(default=16, gt=0, description="samples per token")

    def build(self, context: BuildContext) -> Patch1dEncoder:
        """Return the encoder, its weights fresh."""
        from polyjanus.encoders.shared.patch1d import Patch1dEncoder

        modality = signal_of(context)
        return Patch1dEncoder(
            modality,
            patch=self.patch,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            sample_rate=self.sample_rate or modality.sample_rate,
        )


class SignalCodecSettings(QuantiserSettings, RateSettings):
    """A codec that writes a signal stretch by stretch."""

    patch: int = Field(default=16, gt=0, description="samples per step of the sequence")
    seconds: float = Field(default=2.0, gt=0, description="the longest signal")
    fixed: bool = Field(
        default=True, description="every signal is cut or filled up to `seconds`; else lengths differ (layout: ended)"
    )
    codebooks: int = Field(default=1, gt=0, description="codes per step; of EEG, per step and electrode")
    width: int = Field(default=96, gt=0, multiple_of=8, description="channels of the convolutions")
    depth: int = Field(default=2, ge=0, description="residual blocks on either side")

    def network(self, modality: SignalModality) -> dict[str, Any]:
        """Return what the codec of these settings is built with, on a modality."""
        return {
            "patch": self.patch,
            "seconds": self.seconds,
            "width": self.width,
            "depth": self.depth,
            "levels": self.levels,
            "codebooks": self.codebooks,
            "sample_rate": self.sample_rate or modality.sample_rate,
            "is_fixed": self.fixed,
        }


class Fsq1dConfig(CodecConfig, SignalCodecSettings):
    """A small codec of signals with finite scalar quantisation (arXiv 2309.15505); a CPU trains it in a minute."""

    modality_types = SIGNALS

    type: Literal["fsq1d"]

    def build(self, context: BuildContext) -> Fsq1dCodec:
        """Return the codec, its weights fresh."""
        from polyjanus.encoders.shared.fsq1d import Fsq1dCodec

        modality = signal_of(context)
        return Fsq1dCodec(modality, **self.network(modality))


class GridSettings(Settings):
    """How media whose size varies become a grid of one size; arrays have their own."""

    size: int | None = Field(default=None, gt=0, description="pixels a side of a picture (32 when absent)")
    channels: Literal[1, 3] | None = Field(default=None, description="of a picture: 1 grey, 3 RGB (the default)")
    resize: Literal["pad", "crop", "stretch"] = Field(
        default="crop", description="of a picture: 'crop' cuts the long side, 'pad' fills the short one up"
    )


class Patch2dConfig(EncoderConfig, TransformerSettings, GridSettings):
    """A small transformer over square patches of a grid (arXiv 2010.11929); trained from scratch."""

    modality_types = GRIDS

    type: Literal["patch2d"]
    patch: int = Field(
        default=4, gt=0, description="cells a side of a token; the end of a grid is filled up with zeros"
    )
    stem: Literal["linear", "convolutions"] = Field(
        default="linear",
        description="what a patch is seen by: one layer, or convolutions, which learn far faster from few data",
    )

    @model_validator(mode="after")
    def _halves(self) -> Self:
        if self.stem == "convolutions" and (self.patch < 2 or self.patch & (self.patch - 1)):
            text = f"convolutions halve the grid: {self.patch} is no power of two above 1"
            raise PydanticCustomError("patch", "{text}", {"text": text})
        return self

    def build(self, context: BuildContext) -> Patch2dEncoder:
        """Return the encoder, its weights fresh."""
        from polyjanus.encoders.shared.patch2d import Patch2dEncoder

        preparation = grid_of(context).grid(size=self.size, channels=self.channels, resize=self.resize)
        sizes = {"patch": self.patch, "width": self.width, "depth": self.depth, "heads": self.heads}
        return Patch2dEncoder(preparation, **sizes, has_convolutions=self.stem == "convolutions")


class Fsq2dConfig(CodecConfig, QuantiserSettings, GridSettings):
    """A small convolutional codec with finite scalar quantisation (arXiv 2309.15505); a CPU trains it in a minute."""

    modality_types = GRIDS

    type: Literal["fsq2d"]
    downsample: int = Field(default=8, gt=1, description="cells a code side; a power of two that divides the grid")
    codebooks: int = Field(default=1, gt=0, description="codes per cell; several take layout: flat or delay")
    width: int = Field(default=32, gt=0, multiple_of=8, description="channels of the convolutions")

    @model_validator(mode="after")
    def _halves(self) -> Self:
        if self.downsample & (self.downsample - 1) or (self.size or self.downsample) % self.downsample:
            text = f"downsample {self.downsample} must be a power of two that divides the size {self.size}"
            raise PydanticCustomError("downsample", "{text}", {"text": text})
        return self

    def build(self, context: BuildContext) -> Fsq2dCodec:
        """Return the codec, its weights fresh."""
        from polyjanus.encoders.shared.fsq2d import Fsq2dCodec

        preparation = grid_of(context).grid(size=self.size, channels=self.channels, resize=self.resize)
        _, height, width = preparation.shape
        if height % self.downsample or width % self.downsample:
            raise WiringError(
                f"a grid of {height} x {width} cells cannot be divided by {self.downsample}",
                paths=[context.path],
                hint="set 'downsample' to a power of two that divides both sides, or change the shape",
            )
        return Fsq2dCodec(
            preparation, self.levels, downsample=self.downsample, width=self.width, codebooks=self.codebooks
        )


class CodecFeaturesConfig(EncoderConfig):
    """The features of a codec that another pathway has already: one shared encoder, as in Janus' ablations A and B."""

    modality_types = (*GRIDS, *SIGNALS)

    type: Literal["codec_features"]
    of: str = Field(description="component path of the codec, such as image.generate.codec")
    output: Literal["codes", "latents"] = Field(
        default="codes", description="'codes' gives the vectors of the codes, 'latents' what they were rounded from"
    )

    def build(self, context: BuildContext) -> CodecFeatures:
        """Return the encoder; it holds the codec without owning it."""
        from polyjanus.encoders.shared.codec_features import CodecFeatures, find_codec

        return CodecFeatures(find_codec(self.of, context), self.output)


def signal_of(context: BuildContext) -> SignalModality:
    """Return the modality of a component that works on signals; another kind is a WiringError."""
    from polyjanus.encoders.shared.signals import SignalModality

    if not isinstance(context.modality, SignalModality):
        raise WiringError("the modality is no signal: it is no SignalModality", paths=[context.path])
    return context.modality


def grid_of(context: BuildContext) -> GridModality:
    """Return the modality of a component that works on grids; another kind is a WiringError."""
    from polyjanus.encoders.shared.grids import GridModality

    if not isinstance(context.modality, GridModality):
        raise WiringError("the modality is no grid: it is no GridModality", paths=[context.path])
    return context.modality


@hookimpl
def register(registries: Registries) -> None:
    """Offer what works on signals and on grids."""
    from polyjanus.encoders.shared.adopting import HfAutoConfig

    for encoder in (Patch1dConfig, Patch2dConfig, CodecFeaturesConfig, HfAutoConfig):
        registries.encoders.add(encoder)
    for codec in (Fsq1dConfig, Fsq2dConfig):
        registries.codecs.add(codec)


@hookimpl
def adopt(registries: Registries, module: ModuleType) -> bool:
    """Offer the plain torch modules of a named file as encoders of signals and grids."""
    from polyjanus.encoders.shared.adopting import adopt_modules

    return adopt_modules(registries, module)
