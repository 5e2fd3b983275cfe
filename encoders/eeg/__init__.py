"""EEG: what a YAML may say about it. Importing this loads neither torch nor MNE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, cast

from pydantic import Field, field_validator, model_validator
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
from polyjanus.encoders.eeg.experiments import BidsConfig, Names, SsvepConfig, SsvepMadeConfig, SsvepNamedConfig
from polyjanus.encoders.shared import RateSettings, SignalCodecSettings, TransformerSettings, signal_of

if TYPE_CHECKING:
    from polyjanus.encoders.eeg.labram import LabramEncoder
    from polyjanus.encoders.eeg.media import EegModality
    from polyjanus.encoders.eeg.networks import EegFsqCodec, EegPatchEncoder
    from polyjanus.encoders.eeg.zoo import ZooEncoder

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
    spectrum: bool = Field(default=True, description="whether the power at each frequency is looked at, too")

    def build(self, context: BuildContext) -> EegPatchEncoder:
        """Return the encoder, its weights fresh."""
        from polyjanus.encoders.eeg.networks import EegPatchEncoder

        modality = cast("EegModality", signal_of(context))
        sizes = {"patch": self.patch, "width": self.width, "depth": self.depth, "heads": self.heads}
        rate = self.sample_rate or modality.sample_rate
        return EegPatchEncoder(modality, **sizes, sample_rate=rate, has_spectrum=self.spectrum)


class LabramArchitecture(Settings):
    """The sizes of a LaBraM; the defaults are those of the base model (large: 400, 24, 16; huge: 800, 48, 16)."""

    width: int = Field(default=200, gt=0, multiple_of=100)
    depth: int = Field(default=12, gt=0)
    heads: int = Field(default=10, gt=0)
    final_norm: Literal["norm", "fc_norm"] = Field(
        default="norm", description="name of the last norm: 'norm' where pretrained, 'fc_norm' where fine-tuned"
    )

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.heads:
            text = f"width {self.width} is no multiple of {self.heads} heads"
            raise PydanticCustomError("heads", "{text}", {"text": text})
        return self


class LabramConfig(EncoderConfig, PretrainedSettings):
    """LaBraM (arXiv 2405.18765): one feature per electrode of the 10-20 system and second, of at most 16 seconds."""

    modality_types = EEG

    type: Literal["labram"]
    pretrained: str | None = Field(
        default=None, description="a published file, such as ./labram-base.pth, or one that its fine-tuning saved"
    )
    architecture: LabramArchitecture | None = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default=None, description="sizes; {} for those of the base model"
    )
    older_names: bool = Field(
        default=False,
        description="whether T7, T8, P7 and P8 take the places that LaBraM learned under their older names T3, T4, T5"
        " and T6 (the recordings of Temple University, which most of its training was on, write those)",
    )

    def resolve(self, context: BuildContext) -> Self:
        """Return these settings with the architecture of the checkpoint that they name."""
        if not self.pretrained:
            return self
        from polyjanus.encoders.eeg.labram_weights import read_architecture

        known = {"pretrained": None, "architecture": read_architecture(self.pretrained, context)}
        return self.model_copy(update={**known, "initialised_from": self.pretrained})

    def build(self, context: BuildContext) -> LabramEncoder:
        """Return the encoder, its weights fresh."""
        from polyjanus.encoders.eeg.labram import LabramEncoder

        sizes = self.resolve(context).architecture or LabramArchitecture()
        return LabramEncoder(
            cast("EegModality", signal_of(context)),
            width=sizes.width,
            depth=sizes.depth,
            heads=sizes.heads,
            final_norm=sizes.final_norm,
            has_older_names=self.older_names,
        )

    def load(self, component: Any, context: BuildContext) -> None:
        """Fill the encoder with the weights of `pretrained`."""
        if self.pretrained:
            from polyjanus.encoders.eeg.labram_weights import load_encoder

            load_encoder(component, self.pretrained, context)


class BraindecodeConfig(EncoderConfig):
    """A model of the library braindecode, trained from scratch, on stretches of one length of a fixed montage."""

    modality_types = EEG
    requires = ("braindecode",)
    extra = "eeg-zoo"

    type: Literal["braindecode"]
    model: str = Field(pattern=r"^[A-Za-z]\w*$", description="name of a class in braindecode.models, such as EEGNet")
    architecture: dict[str, Any] = Field(default={}, description="what the class takes, electrodes and length apart")
    seconds: float = Field(default=2.0, gt=0, description="length; recordings are cut or filled up with zeros")
    sample_rate: float | None = Field(default=None, gt=0, description="Hz; the modality's own when absent")
    unit: float = Field(default=1e-6, gt=0, description="volts that are 1 in the model: microvolts")
    output: str = Field(default="features", description="'features': the model's own; else one of its modules")
    axis: int = Field(default=-1, description="axis of a module's output that is the width: 1 after convolutions")

    def build(self, context: BuildContext) -> ZooEncoder:
        """Return the encoder, its weights fresh."""
        from polyjanus.encoders.eeg.zoo import ZooEncoder, make_model

        modality = cast("EegModality", signal_of(context))
        rate = self.sample_rate or modality.sample_rate
        samples = round(self.seconds * rate)
        known = {"n_outputs": 2, "n_chans": len(modality.channels), "n_times": samples, "sfreq": rate}
        model = make_model(self.model, {**known, **self.architecture}, context.path)
        surroundings: dict[str, Any] = {"samples": samples, "sample_rate": rate, "unit": self.unit}
        return ZooEncoder(modality, model, output=self.output, axis=self.axis, **surroundings)


class EegFsqConfig(CodecConfig, SignalCodecSettings):
    """EEG of a fixed montage as finite scalars (arXiv 2309.15505), time-major."""

    modality_types = EEG

    type: Literal["eeg_fsq"]
    patch: int = Field(default=50, gt=0, description="samples per step of the sequence")

    def build(self, context: BuildContext) -> EegFsqCodec:
        """Return the codec, its weights fresh."""
        from polyjanus.encoders.eeg.networks import EegFsqCodec

        modality = cast("EegModality", signal_of(context))
        return EegFsqCodec(modality, **self.network(modality))


@hookimpl
def register(registries: Registries) -> None:
    """Offer EEG, its encoders and codecs, and EEG to try them on."""
    registries.modalities.add(EegConfig)
    for encoder in (EegPatchConfig, LabramConfig, BraindecodeConfig):
        registries.encoders.add(encoder)
    registries.codecs.add(EegFsqConfig)
    for source in (BidsConfig, SsvepConfig):
        registries.sources.add(source)
    for metric in (SsvepNamedConfig, SsvepMadeConfig):
        registries.metrics.add(metric)
