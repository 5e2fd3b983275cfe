"""The arithmetic of sound, by torchaudio: other rates, mel spectra and the way back.

Shape letters: C channels, T samples, M mel bands, F frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyjanus.core.hf import torchaudio
from polyjanus.encoders.shared.signals import Array


def resample(samples: Array, sample_rate: float, new_rate: float) -> Array:
    """Return samples (C, T') at another rate in Hz; both rates are taken as whole numbers."""
    functional = torchaudio().functional
    given = torch.from_numpy(np.ascontiguousarray(samples))
    return functional.resample(given, round(sample_rate), round(new_rate)).numpy()


MARGIN, NOTHING = 0.3, -12.0
"""Logarithms: how far above silence sound begins, and what is written for silence."""


@dataclass(frozen=True)
class MelSpectrum:
    """Log mel magnitudes of sound at one rate: windows of four hops, bands up to half the rate.

    What is `silence` decibels below a sine of full scale, and all below, is the same silence: a network need not learn
    the noise of a room.
    """

    sample_rate: int
    bands: int
    hop: int
    silence: float = 60.0

    @property
    def window(self) -> int:
        """Return the samples of a window."""
        return 4 * self.hop

    @property
    def span(self) -> tuple[float, float]:
        """Return the logarithms of silence and of a sine of full scale."""
        loudest = log(self.window / 4)
        return loudest - self.silence / 20 * log(10), loudest

    def values(self, frames: Tensor) -> Tensor:
        """Return what networks see of log mel magnitudes: -1 silence, 1 full scale."""
        low, high = self.span
        return (frames - low) / (high - low) * 2 - 1

    def from_values(self, values: Tensor) -> Tensor:
        """Return the log mel magnitudes of what a network gives; silence becomes none at all."""
        low, high = self.span
        frames = (values.clamp(max=1.5) + 1) / 2 * (high - low) + low
        return torch.where(frames > low + MARGIN, frames, NOTHING)

    def num_frames(self, samples: int) -> int:
        """Return how many frames that many samples have."""
        return -(-samples // self.hop)

    def frames(self, samples: Tensor) -> Tensor:
        """Return natural logarithms of mel magnitudes (C, M, F) of samples (C, T), F = ceil(T / hop)."""
        count = self.num_frames(samples.shape[1])
        padded = torch.nn.functional.pad(samples, (0, count * self.hop - samples.shape[1] + self.window))
        spectrum = torch.stft(
            padded, self.window, self.hop, window=self._hann(samples), center=False, return_complex=True
        ).abs()
        return (self._filters(samples).T @ spectrum[..., :count]).clamp(min=exp(self.span[0])).log()

    def sound(self, frames: Tensor, iterations: int) -> Tensor:
        """Return samples (C, F · hop) of log mel magnitudes (C, M, F), by Griffin-Lim (1984) with zero first phases."""
        functional = torchaudio().functional
        inverse = torch.linalg.pinv(self._filters(frames).T)
        magnitudes = (inverse @ frames.exp()).clamp(min=0)
        edge = self.window // self.hop // 2
        padded = torch.nn.functional.pad(magnitudes, (edge, edge))
        samples = functional.griffinlim(
            padded,
            window=self._hann(frames),
            n_fft=self.window,
            hop_length=self.hop,
            win_length=self.window,
            power=1.0,
            n_iter=iterations,
            momentum=0.9,
            length=None,
            rand_init=False,
        )
        return samples[..., : frames.shape[-1] * self.hop]

    def _hann(self, like: Tensor) -> Tensor:
        return torch.hann_window(self.window, device=like.device)

    def _filters(self, like: Tensor) -> Tensor:
        """Return the mel filters (window / 2 + 1, M)."""
        options: dict[str, Any] = {"norm": None, "mel_scale": "htk"}
        bins = self.window // 2 + 1
        filters = torchaudio().functional.melscale_fbanks(
            bins, 0.0, self.sample_rate / 2, self.bands, self.sample_rate, **options
        )
        return filters.to(like.device)
