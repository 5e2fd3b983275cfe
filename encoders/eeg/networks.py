"""The torch side of `eeg_patch` and `eeg_fsq`.

Shape letters: B items, C electrodes, A stretches of time, P samples of a stretch, K code books, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from polyjanus.core.errors import MediaError
from polyjanus.core.modules import Encoder, Grid, Prepared
from polyjanus.encoders.eeg.media import EegModality, Recording
from polyjanus.encoders.shared.fsq1d import Fsq1dCodec, PatchQuantiser
from polyjanus.encoders.shared.patch1d import to_patches
from polyjanus.encoders.shared.transformer import TokenTransformer, sinusoids

FREQUENCIES = 4
QUIETEST_POWER = 1e-3
"""Power, in squares of the modality's scale, below which a frequency counts as silent."""
HEAD_METRES = 0.1


class EegPatchEncoder(Encoder):
    """One token per electrode and stretch of time, time-major; places on the head come in as Fourier features.

    So any montage will do, in any order (the idea of REVE, arXiv 2510.21585). With `has_spectrum` the logarithm of each
    stretch's power is looked at beside its samples: rhythms whose phase is random are then learned in minutes.
    """

    def __init__(
        self,
        modality: EegModality,
        *,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        sample_rate: float,
        has_spectrum: bool,
    ) -> None:
        super().__init__()
        self.modality, self.patch, self.width, self.sample_rate = modality, patch, width, sample_rate
        self.has_spectrum = has_spectrum
        self.embedding = nn.Linear(patch + (patch // 2 + 1 if has_spectrum else 0), width)
        self.place = nn.Sequential(nn.Linear(3 * 2 * FREQUENCIES, width), nn.GELU(), nn.Linear(width, width))
        self.transformer = TokenTransformer(width, depth, heads)

    def prepare(self, media: Recording) -> Prepared:
        """Return the patches (A, C, P), about as large as 1, their spectra behind them, and the places (C, 3) in m."""
        chosen = self.modality.chosen(media)
        unplaced = ~np.isfinite(chosen.positions).all(1)
        if unplaced.any():
            raise MediaError(
                f"electrode {chosen.channels[int(unplaced.argmax())]!r} has no position",
                where=self.modality.name,
                hint="set a montage in the file, or name it as the 10-20 system does",
            )
        values = torch.from_numpy(self.modality.values(chosen, self.sample_rate))
        patches = to_patches(values, self.patch)
        if self.has_spectrum:
            patches = torch.cat([patches, log_power(patches)], dim=-1)
        return {"patches": patches, "places": torch.from_numpy(chosen.positions.copy())}

    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return A · C, and (A, C)."""
        times, electrodes, _ = prepared["patches"].shape
        return times * electrodes, (times, electrodes)

    def forward_stacked(self, patches: Tensor, places: Tensor) -> Tensor:
        """Return features (B, A · C, d) of patches (B, A, C, P) and places (B, C, 3)."""
        tokens = self.embedding(patches) + self.place(fourier(places)).unsqueeze(1)
        times = sinusoids(torch.arange(patches.shape[1], device=patches.device), self.width)
        return self.transformer((tokens + times[:, None].to(tokens.dtype)).flatten(1, 2))


def log_power(patches: Tensor) -> Tensor:
    """Return the logarithm of the amplitude (…, P // 2 + 1) at each frequency of patches (…, P)."""
    window = torch.hann_window(patches.shape[-1], periodic=True)
    power = torch.fft.rfft(patches.float() * window).abs().square() / window.square().sum()
    return 0.5 * (power + QUIETEST_POWER).log()


def fourier(places: Tensor) -> Tensor:
    """Return sines and cosines (…, 24) of places (…, 3) in metres, at octaves of the size of a head."""
    octaves = 2.0 ** torch.arange(FREQUENCIES, device=places.device, dtype=places.dtype)
    angles = (places / HEAD_METRES).unsqueeze(-1) * octaves * (torch.pi / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class ChannelQuantiser(nn.Module):
    """One quantiser for every electrode, each of which has code books of its own in the frame."""

    def __init__(self, channels: int, patch: int, *, codebooks: int, **network: Any) -> None:
        super().__init__()
        self.channels, self.patch = channels, patch
        self.one = PatchQuantiser(patch, codebooks=codebooks, **network)
        self.scalars, self.codebooks = self.one.scalars, channels * codebooks

    def codes(self, patches: Tensor) -> Tensor:
        """Return codes (B, A, C · k) of patches (B, A, C · P)."""
        return self._joined(self.one.codes(self._apart(patches)), patches.shape[0])

    def latents(self, patches: Tensor) -> Tensor:
        """Return what is rounded to codes (B, A, C · k, L)."""
        latents = self.one.latents(self._apart(patches))
        return self._joined(latents.flatten(2), patches.shape[0]).unflatten(2, (-1, latents.shape[-1]))

    def patches(self, codes: Tensor) -> Tensor:
        """Return patches (B, A, C · P) of codes (B, A, C · k)."""
        return self._joined(self.one.patches(self._apart(codes)), codes.shape[0])

    def rebuilt(self, patches: Tensor) -> Tensor:
        """Return the patches through the quantiser and back, with gradient."""
        return self._joined(self.one.rebuilt(self._apart(patches)), patches.shape[0])

    def _apart(self, values: Tensor) -> Tensor:
        """Return (B · C, A, n) of (B, A, C · n)."""
        return values.unflatten(2, (self.channels, -1)).transpose(1, 2).flatten(0, 1)

    def _joined(self, values: Tensor, items: int) -> Tensor:
        """Return (B, A, C · n) of (B · C, A, n)."""
        return values.unflatten(0, (items, self.channels)).transpose(1, 2).flatten(2)


class EegFsqCodec(Fsq1dCodec):
    """EEG of a fixed montage: per stretch of time one frame, in which every electrode has `codebooks` codes."""

    def __init__(self, modality: EegModality, *, levels: Sequence[int], codebooks: int, **network: Any) -> None:
        super().__init__(modality, levels=levels, codebooks=codebooks, **network)
        sizes = {name: network[name] for name in ("width", "depth")}
        self.quantiser = ChannelQuantiser(self.num_channels, self.patch, codebooks=codebooks, levels=levels, **sizes)
        self.num_codebooks = self.quantiser.codebooks
        self.latent_width = self.num_codebooks * len(levels)
