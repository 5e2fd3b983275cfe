"""EEG: what a YAML may say about it. Importing this loads neither torch nor MNE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, CodecConfig, EncoderConfig, ModalityConfig
from polyjanus.encoders.shared import QuantiserSettings, RateSettings, TransformerSettings, signal_of

if TYPE_CHECKING:
    from polyjanus.encoders.eeg.media import EegModality
    from polyjanus.encoders.eeg.networks import EegFsqCodec, EegPatchEncoder

Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
EEG = ("eeg",)


class EegConfig(ModalityConfig):
    """EEG in volts, of electrodes of the 10-20 system or with positions; everything that MNE reads."""

    behaves_like = ("signal",)
    requires = ("mne",)
    extra = "eeg"

    type: Literal["eeg"]
    channels: Names | None = Field(
        default=None, description="electrodes that networks see, in order; all that there are when absent"
    )
    sample_rate: float = Field(default=200.0, gt=0, description="Hz at which networks see EEG that say no other")
    scale: float = Field(default=1e-5, gt=0, description="the size that values typically have, in volts")
    check_scale: bool = Field(default=True, description="refuse what can be no scalp EEG in volts: a units error")
    max_seconds: float = Field(default=3600.0, gt=0, description="of one recording, or of the part that is asked for")
    max_bytes: int = Field(default=4_000_000_000, gt=0, description="bytes of a file, at most")

    @field_validator("channels")
    @classmethod
    def _normal(cls, channels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        from polyjanus.encoders.eeg.names import normalise

        names = None if channels is None else tuple(normalise(name) for name in channels)
        if names and len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise PydanticCustomError("channels", "two names mean the electrode '{name}'", {"name": twice})
        return names

    def build(self, context: BuildContext) -> EegModality:
        """Return what loads and saves EEG."""
        from polyjanus.encoders.eeg.media import EegModality

        return EegModality(context.path, self)


class EegPatchConfig(EncoderConfig, TransformerSettings, RateSettings):
    """A small transformer over electrodes and time, for any montage; trained from scratch."""

    modality_types = EEG

    type: Literal["eeg_patch"]
    patch: int = Field(default=100, gt=0, description="samples per token")

    def build(self, context: BuildContext) -> EegPatchEncoder:
        """Return the encoder, its weights fresh."""
        from polyjanus.encoders.eeg.networks import EegPatchEncoder

        modality = cast("EegModality", signal_of(context))
        sizes = {"patch": self.patch, "width": self.width, "depth": self.depth, "heads": self.heads}
        return EegPatchEncoder(modality, **sizes, sample_rate=self.sample_rate or modality.sample_rate)


class EegFsqConfig(CodecConfig, QuantiserSettings, RateSettings):
    """EEG of a fixed montage as finite scalars (arXiv 2309.15505), time-major."""

    modality_types = EEG

    type: Literal["eeg_fsq"]
    patch: int = Field(default=50, gt=0, description="samples per step of the sequence")
    seconds: float = Field(default=2.0, gt=0, description="the longest recording")
    fixed: bool = Field(
        default=True, description="every recording is cut or filled up to `seconds`; else lengths differ"
    )
    codebooks: int = Field(default=1, gt=0, description="codes per electrode and step")
    width: int = Field(default=96, gt=0, multiple_of=8, description="channels of the convolutions")
    depth: int = Field(default=2, ge=0, description="residual blocks on either side")

    def build(self, context: BuildContext) -> EegFsqCodec:
        """Return the codec, its weights fresh."""
        from polyjanus.encoders.eeg.networks import EegFsqCodec

        modality = cast("EegModality", signal_of(context))
        network: dict[str, Any] = {"width": self.width, "depth": self.depth, "levels": self.levels}
        return EegFsqCodec(
            modality,
            patch=self.patch,
            seconds=self.seconds,
            codebooks=self.codebooks,
            is_fixed=self.fixed,
            sample_rate=self.sample_rate or modality.sample_rate,
            **network,
        )


@hookimpl
def register(registries: Registries) -> None:
    """Offer EEG, its encoders and its codecs."""
    registries.modalities.add(EegConfig)
    registries.encoders.add(EegPatchConfig)
    registries.codecs.add(EegFsqConfig)
