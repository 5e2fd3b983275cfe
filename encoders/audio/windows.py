"""Encoders that read sound in windows of fixed length, and keep only the tokens that have sound behind them.

Shape letters: B items, W windows, N kept tokens, M mel bands, F frames, d width.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyjanus.core.hf import library
from polyjanus.core.modules import Encoder, Grid, Prepared
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.audio.media import Audio
from polyjanus.encoders.shared.checkpoints import config_from, keep_buffers, reset_tower
from polyjanus.encoders.shared.signals import Array, SignalModality

WHISPER_HOP, RATE = 160, 16_000
"""Samples per mel frame, and Hz, of Whisper and AST alike."""


class WindowEncoder(Encoder):
    """A tower of transformers over spectra (M, F) of one window after the other."""

    tower: Any
    frames: int
    """Frames of a window."""

    def __init__(self, modality: SignalModality) -> None:
        super().__init__()
        self.modality = modality

    @abstractmethod
    def spectra(self, samples: Array) -> Array:
        """Return the spectra (M, F) of the samples (F · hop,) of one window."""

    @abstractmethod
    def kept(self, frames: int) -> Tensor:
        """Return which tokens of all windows have sound behind them (N,), when that many frames have."""

    @abstractmethod
    def tokens(self, spectra: Tensor) -> Tensor:
        """Return the tokens (B · W, n, d) of spectra (B · W, M, F)."""

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        reset_tower(self.tower)

    def prepare(self, media: Audio) -> Prepared:
        """Return the spectra (W, M, F) of all windows, and which tokens to keep (N,)."""
        at_rate = self.modality.resampled(media, RATE)
        samples = self.modality.samples_of(at_rate).mean(0)
        length = self.frames * WHISPER_HOP
        windows = -(-len(samples) // length)
        padded = np.pad(samples, (0, windows * length - len(samples))).reshape(windows, length)
        spectra = np.stack([self.spectra(window) for window in padded])
        return {"spectra": torch.from_numpy(spectra), "kept": self.kept(-(-len(samples) // WHISPER_HOP))}

    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return how many tokens are kept."""
        return prepared["kept"].shape[0], None

    def forward_stacked(self, spectra: Tensor, kept: Tensor) -> Tensor:
        """Return features (B, N, d) of spectra (B, W, M, F)."""
        tokens = self.tokens(spectra.flatten(0, 1).to(self.tower.dtype))
        every = tokens.unflatten(0, spectra.shape[:2]).flatten(1, 2)
        return every.gather(1, kept.unsqueeze(2).expand(-1, -1, self.width))


class WhisperEncoder(WindowEncoder):
    """Whisper's encoder (arXiv 2212.04356): 50 tokens a second, as many as the clip has sound for.

    A clip is read in windows of 30 seconds, as the encoder was trained; the rest of the last one is silence, whose
    tokens are dropped.
    """

    def __init__(self, architecture: dict[str, Any], modality: SignalModality, context: BuildContext) -> None:
        super().__init__(modality)
        config = config_from({"model_type": "whisper", **architecture}, context)
        self.tower = keep_buffers(library().models.whisper.modeling_whisper.WhisperEncoder(config))
        self.width = config.d_model
        self.frames = 2 * config.max_source_positions
        self.extractor = library().WhisperFeatureExtractor(feature_size=config.num_mel_bins)

    def spectra(self, samples: Array) -> Array:
        """Return log mel spectra (M, F), by transformers' extractor."""
        return self.extractor(samples, sampling_rate=RATE, padding=False, return_tensors="np").input_features[0]

    def kept(self, frames: int) -> Tensor:
        """Return the tokens up to the end: two frames each."""
        return torch.arange(-(-frames // 2))

    def tokens(self, spectra: Tensor) -> Tensor:
        """Return the last hidden states."""
        return self.tower(spectra).last_hidden_state


class AstEncoder(WindowEncoder):
    """The Audio Spectrogram Transformer (arXiv 2104.01778): one token per patch of the spectrum, time after time.

    Class and distillation tokens are dropped, and so are patches behind the end of the clip.
    """

    def __init__(
        self, architecture: dict[str, Any], modality: SignalModality, context: BuildContext, *, mean: float, std: float
    ) -> None:
        super().__init__(modality)
        config = config_from({"model_type": "audio-spectrogram-transformer", **architecture}, context)
        self.tower = keep_buffers(library().ASTModel(config))
        self.width = config.hidden_size
        self.frames = config.max_length
        self.patch, self.strides = config.patch_size, (config.frequency_stride, config.time_stride)
        self.rows = (config.num_mel_bins - self.patch) // self.strides[0] + 1
        self.columns = (config.max_length - self.patch) // self.strides[1] + 1
        self.extractor = library().ASTFeatureExtractor(
            num_mel_bins=config.num_mel_bins, max_length=config.max_length, mean=mean, std=std
        )

    def spectra(self, samples: Array) -> Array:
        """Return normalised filter banks (F, M), by transformers' extractor."""
        return self.extractor(samples, sampling_rate=RATE, return_tensors="np").input_values[0]

    def kept(self, frames: int) -> Tensor:
        """Return the patches that begin before the end, time after time and low bands first."""
        whole, rest = divmod(frames, self.frames)
        columns = whole * self.columns + min(-(-rest // self.strides[1]), self.columns)
        places = torch.arange(columns)
        first = places // self.columns * self.rows * self.columns + places % self.columns
        return (first[:, None] + torch.arange(self.rows) * self.columns).flatten()

    def tokens(self, spectra: Tensor) -> Tensor:
        """Return the last hidden states of the patches."""
        return self.tower(spectra).last_hidden_state[:, 2:]
