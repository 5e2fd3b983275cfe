"""The torch side of `mel_patch` and `mel_fsq`: spectra to tokens, and codes to spectra to sound.

Shape letters: B items, N patches, M mel bands, F frames, d width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from polyjanus.core.modules import Encoder, Grid, Prepared
from polyjanus.encoders.audio.media import Audio
from polyjanus.encoders.audio.sound import MelSpectrum
from polyjanus.encoders.shared.fsq1d import Fsq1dCodec
from polyjanus.encoders.shared.patch1d import to_patches
from polyjanus.encoders.shared.signals import SignalModality
from polyjanus.encoders.shared.transformer import TokenTransformer, sinusoids


def mel_values(modality: SignalModality, media: Audio, mel: MelSpectrum) -> Tensor:
    """Return what networks see of a sound: scaled log mel magnitudes (M, F) of the mean of its channels."""
    samples = modality.samples_of(modality.resampled(media, mel.sample_rate)).mean(0, keepdims=True)
    return mel.values(mel.frames(torch.from_numpy(samples))[0])


class MelPatchEncoder(Encoder):
    """One token per `patch` frames of a log mel spectrum."""

    def __init__(
        self, modality: SignalModality, mel: MelSpectrum, *, patch: int, width: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        self.modality, self.mel, self.patch, self.width = modality, mel, patch, width
        self.embedding = nn.Linear(mel.bands * patch, width)
        self.transformer = TokenTransformer(width, depth, heads)

    def prepare(self, media: Audio) -> Prepared:
        """Return the patches (N, M · patch), float32."""
        return {"patches": to_patches(mel_values(self.modality, media, self.mel), self.patch).flatten(1)}

    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return the number of patches."""
        return prepared["patches"].shape[0], None

    def forward_stacked(self, patches: Tensor) -> Tensor:
        """Return features (B, N, d) of patches (B, N, M · patch)."""
        tokens = self.embedding(patches)
        places = sinusoids(torch.arange(tokens.shape[1], device=tokens.device), self.width)
        return self.transformer(tokens + places.to(tokens.dtype))


class MelFsqCodec(Fsq1dCodec):
    """Log mel spectra as finite scalars; back to sound by Griffin-Lim, so phases are made up."""

    def __init__(self, modality: SignalModality, mel: MelSpectrum, *, iterations: int, **network: Any) -> None:
        self.mel, self.iterations = mel, iterations
        super().__init__(modality, num_channels=mel.bands, sample_rate=mel.sample_rate / mel.hop, **network)

    def values(self, media: Audio) -> Tensor:
        """Return scaled log mel magnitudes (M, F)."""
        return mel_values(self.modality, media, self.mel)

    def medium(self, values: Tensor) -> Audio:
        """Return the sound of scaled log mel magnitudes (M, F)."""
        samples = self.mel.sound(self.mel.from_values(values)[None], self.iterations)
        mono = samples.clamp(-1, 1).numpy()
        return self.modality.make(mono.repeat(len(self.modality.channels), 0), self.mel.sample_rate)
