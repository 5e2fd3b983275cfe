"""Sound: what a YAML may say about it. Importing this loads neither torch nor a sound library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field

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
from polyjanus.encoders.audio.trials import TonesConfig, TonesMadeConfig, TonesNamedConfig
from polyjanus.encoders.shared import QuantiserSettings, TransformerSettings, signal_of

if TYPE_CHECKING:
    from polyjanus.encoders.audio.codecs import NeuralCodec
    from polyjanus.encoders.audio.media import AudioModality
    from polyjanus.encoders.audio.mel import MelFsqCodec, MelPatchEncoder
    from polyjanus.encoders.audio.sound import MelSpectrum
    from polyjanus.encoders.audio.wave_models import WaveEncoder
    from polyjanus.encoders.audio.windows import AstEncoder, WhisperEncoder

SOUND = ("audio",)


class AudioConfig(ModalityConfig):
    """Sound: WAV, FLAC, OGG, MP3 at any rate; full scale is 1."""

    behaves_like = ("signal",)
    requires = ("soundfile",)
    extra = "audio"

    type: Literal["audio"]
    sample_rate: int = Field(default=16_000, ge=1_000, description="Hz at which networks see sound that say no other")
    channels: int = Field(default=1, gt=0, le=8, description="that networks see; one of a file with several: the mean")
    scale: float = Field(default=0.1, gt=0, description="the size that samples typically have, full scale being 1")
    max_seconds: float = Field(default=600.0, gt=0, description="of one sound, or of the part that is asked for")
    max_bytes: int = Field(default=500_000_000, gt=0, description="bytes of a file, at most")

    def build(self, context: BuildContext) -> AudioModality:
        """Return what loads and saves sound."""
        from polyjanus.encoders.audio.media import AudioModality

        return AudioModality(context.path, self)


class TowerConfig(EncoderConfig, PretrainedSettings):
    """An encoder of transformers, from a checkpoint or from its architecture."""

    modality_types = SOUND
    requires = ("torchaudio",)
    extra = "audio"

    def resolve(self, context: BuildContext) -> Self:
        """Return these settings with the architecture of the checkpoint that they name."""
        from polyjanus.encoders.shared.checkpoints import read_architecture, resolved

        if not self.pretrained:
            return self
        return resolved(self, read_architecture(self.pretrained, context), **self.known(context))

    def known(self, context: BuildContext) -> dict[str, Any]:
        """Return settings that the checkpoint's feature extractor has and this block does not."""
        return {}

    def load(self, component: Any, context: BuildContext) -> None:
        """Fill the encoder with the weights of `pretrained`."""
        from polyjanus.encoders.shared.checkpoints import load_tower

        if self.pretrained:
            load_tower(component.tower, self.pretrained, context)


class WhisperConfig(TowerConfig):
    """Whisper's encoder (arXiv 2212.04356): 50 features a second, as many as the clip has sound for."""

    type: Literal["whisper"]

    def build(self, context: BuildContext) -> WhisperEncoder:
        """Return the encoder, its weights fresh."""
        from polyjanus.encoders.audio.windows import WhisperEncoder

        return WhisperEncoder(self.resolve(context).architecture or {}, signal_of(context), context)

    def load(self, component: Any, context: BuildContext) -> None:
        """Fill the encoder with that of the whole Whisper in `pretrained`."""
        from polyjanus.encoders.shared.checkpoints import load_part

        if self.pretrained:
            load_part(component.tower, self.pretrained, "WhisperModel", "encoder", context)


class Wav2Vec2Config(TowerConfig):
    """wav2vec 2.0 (arXiv 2006.11477), HuBERT, WavLM and their like: 50 features a second of the wave itself."""

    type: Literal["wav2vec2"]
    normalise: bool = Field(default=True, description="to zero mean and unit variance; the checkpoint's own if it says")

    def known(self, context: BuildContext) -> dict[str, Any]:
        """Return whether the checkpoint was trained on normalised waves."""
        from polyjanus.encoders.shared.checkpoints import read_preprocessor

        found = read_preprocessor(self.pretrained or "", context).get("do_normalize")
        return {} if found is None or "normalise" in self.model_fields_set else {"normalise": bool(found)}

    def build(self, context: BuildContext) -> WaveEncoder:
        """Return the encoder, its weights fresh."""
        from polyjanus.encoders.audio.wave_models import WaveEncoder

        settings = self.resolve(context)
        return WaveEncoder(settings.architecture or {}, signal_of(context), context, is_normalised=settings.normalise)


class AstConfig(TowerConfig):
    """The Audio Spectrogram Transformer (arXiv 2104.01778): patches of a mel spectrum, up to where the clip ends."""

    type: Literal["ast"]
    mean: float = Field(default=-4.2677393, description="of log filter banks; AudioSet's when the checkpoint says none")
    std: float = Field(default=4.5689974, gt=0, description="of log filter banks")

    def known(self, context: BuildContext) -> dict[str, Any]:
        """Return mean and deviation of the checkpoint's feature extractor."""
        from polyjanus.encoders.shared.checkpoints import read_preprocessor

        found = read_preprocessor(self.pretrained or "", context)
        return {name: float(found[name]) for name in ("mean", "std") if name in found}

    def build(self, context: BuildContext) -> AstEncoder:
        """Return the encoder, its weights fresh."""
        from polyjanus.encoders.audio.windows import AstEncoder

        settings = self.resolve(context)
        return AstEncoder(
            settings.architecture or {}, signal_of(context), context, mean=settings.mean, std=settings.std
        )


class MelSettings(Settings):
    """Log mel spectra."""

    sample_rate: int = Field(default=16_000, ge=1_000, description="Hz")
    bands: int = Field(default=80, gt=0, description="mel bands")
    hop: int = Field(default=160, gt=3, description="samples between frames; a window has four hops")
    silence: float = Field(default=60.0, gt=0, description="decibels below a full sine that are silence")

    def mel(self) -> MelSpectrum:
        """Return the spectrum."""
        from polyjanus.encoders.audio.sound import MelSpectrum

        return MelSpectrum(self.sample_rate, self.bands, self.hop, self.silence)


class MelPatchConfig(EncoderConfig, TransformerSettings, MelSettings):
    """A small transformer over stretches of a log mel spectrum; trained from scratch."""

    modality_types = SOUND
    requires = ("torchaudio",)
    extra = "audio"

    type: Literal["mel_patch"]
    patch: int = Field(default=4, gt=0, description="frames per token")

    def build(self, context: BuildContext) -> MelPatchEncoder:
        """Return the encoder, its weights fresh."""
        from polyjanus.encoders.audio.mel import MelPatchEncoder

        sizes = {"patch": self.patch, "width": self.width, "depth": self.depth, "heads": self.heads}
        return MelPatchEncoder(signal_of(context), self.mel(), **sizes)


class LengthSettings(Settings):
    """How long the sound of a codec may be."""

    seconds: float = Field(default=2.0, gt=0, description="the longest sound")
    fixed: bool = Field(
        default=True, description="every sound is cut or filled up to `seconds`; else lengths differ (layout: ended)"
    )


class MelFsqConfig(CodecConfig, QuantiserSettings, MelSettings, LengthSettings):
    """Log mel spectra as finite scalars (arXiv 2309.15505), back to sound by Griffin-Lim; trained here."""

    modality_types = SOUND
    requires = ("torchaudio",)
    extra = "audio"

    type: Literal["mel_fsq"]
    patch: int = Field(default=4, gt=0, description="frames per step of the sequence")
    codebooks: int = Field(default=2, gt=0, description="codes per step")
    width: int = Field(default=128, gt=0, multiple_of=8, description="channels of the convolutions")
    depth: int = Field(default=2, ge=0, description="residual blocks on either side")
    iterations: int = Field(default=32, gt=0, description="of Griffin-Lim")

    def build(self, context: BuildContext) -> MelFsqCodec:
        """Return the codec, its weights fresh."""
        from polyjanus.encoders.audio.mel import MelFsqCodec

        return MelFsqCodec(
            signal_of(context),
            self.mel(),
            iterations=self.iterations,
            patch=self.patch,
            seconds=self.seconds,
            width=self.width,
            depth=self.depth,
            levels=self.levels,
            codebooks=self.codebooks,
            is_fixed=self.fixed,
        )


class NeuralCodecConfig(CodecConfig, PretrainedSettings, LengthSettings):
    """A neural codec of transformers, from a checkpoint or from its architecture."""

    modality_types = SOUND
    requires = ("torchaudio",)
    extra = "audio"

    codebooks: int | None = Field(default=None, gt=0, description="code books used, the first ones; all when absent")

    def resolve(self, context: BuildContext) -> Self:
        """Return these settings with the architecture of the checkpoint that they name."""
        from polyjanus.encoders.shared.checkpoints import read_architecture, resolved

        return resolved(self, read_architecture(self.pretrained, context)) if self.pretrained else self

    def build(self, context: BuildContext) -> NeuralCodec:
        """Return the codec, its weights fresh."""
        from polyjanus.encoders.audio.codecs import NeuralCodec

        architecture = {"model_type": self.type_name(), **(self.resolve(context).architecture or {})}
        return NeuralCodec(
            architecture,
            signal_of(context),
            context,
            codebooks=self.codebooks,
            seconds=self.seconds,
            is_fixed=self.fixed,
        )

    def load(self, component: Any, context: BuildContext) -> None:
        """Fill the codec with the weights of `pretrained`."""
        from polyjanus.encoders.shared.checkpoints import load_tower

        if self.pretrained:
            load_tower(component.tower, self.pretrained, context)


class EncodecConfig(NeuralCodecConfig):
    """EnCodec (arXiv 2210.13438), such as facebook/encodec_24khz: 75 frames a second, 2 to 32 code books of 1024."""

    type: Literal["encodec"]


class DacConfig(NeuralCodecConfig):
    """The Descript Audio Codec (arXiv 2306.06546), such as descript/dac_16khz."""

    type: Literal["dac"]


class MimiConfig(NeuralCodecConfig):
    """Mimi (arXiv 2410.00037), such as kyutai/mimi: 12.5 frames a second, the first code book semantic."""

    type: Literal["mimi"]


@hookimpl
def register(registries: Registries) -> None:
    """Offer sound, its encoders and codecs, and sounds to try them on."""
    registries.modalities.add(AudioConfig)
    for encoder in (WhisperConfig, Wav2Vec2Config, AstConfig, MelPatchConfig):
        registries.encoders.add(encoder)
    for codec in (MelFsqConfig, EncodecConfig, DacConfig, MimiConfig):
        registries.codecs.add(codec)
    registries.sources.add(TonesConfig)
    registries.metrics.add(TonesNamedConfig)
    registries.metrics.add(TonesMadeConfig)
