"""The torch side of `wav2vec2`: encoders that read the wave itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from polyjanus.core.errors import MediaError, WiringError
from polyjanus.core.hf import library
from polyjanus.core.modules import Encoder, Grid, Prepared
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.audio.media import Audio
from polyjanus.encoders.shared.checkpoints import config_from, keep_buffers, reset_tower
from polyjanus.encoders.shared.signals import SignalModality

FAMILY = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat", "data2vec-audio")
RATE = 16_000


class WaveEncoder(Encoder):
    """wav2vec 2.0 (arXiv 2006.11477), HuBERT, WavLM and their like: 50 tokens a second of a 16 kHz wave."""

    def __init__(
        self, architecture: dict[str, Any], modality: SignalModality, context: BuildContext, *, is_normalised: bool
    ) -> None:
        super().__init__()
        self.modality, self.is_normalised = modality, is_normalised
        architecture = {"model_type": FAMILY[0], **architecture}
        if architecture["model_type"] not in FAMILY:
            raise WiringError(
                f"{architecture['model_type']!r} does not read the wave",
                paths=[context.path],
                hint=f"known are {', '.join(FAMILY)}",
            )
        config = config_from({**architecture, "apply_spec_augment": False, "layerdrop": 0.0}, context)
        self.tower = keep_buffers(library().AutoModel.from_config(config))
        self.width = config.hidden_size
        self.kernels, self.strides = config.conv_kernel, config.conv_stride

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        reset_tower(self.tower)

    def prepare(self, media: Audio) -> Prepared:
        """Return the wave (T,), of zero mean and unit variance where the checkpoint was trained so."""
        samples = self.modality.samples_of(self.modality.resampled(media, RATE)).mean(0)
        if self.is_normalised:
            samples = (samples - samples.mean()) / (samples.var() + 1e-7) ** 0.5
        wave = torch.from_numpy(samples.astype("float32"))
        if self._length(wave.shape[0]) < 1:
            raise MediaError(f"{wave.shape[0]} samples at 16 kHz are too short for one token", where=self.modality.name)
        return {"wave": wave}

    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return how many frames the convolutions leave."""
        return self._length(prepared["wave"].shape[0]), None

    def _length(self, samples: int) -> int:
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    def forward_stacked(self, wave: Tensor) -> Tensor:
        """Return features (B, N, d) of waves (B, T)."""
        return self.tower(wave).last_hidden_state
