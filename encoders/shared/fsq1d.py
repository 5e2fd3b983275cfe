"""Codecs of signals: stretches of samples to finite scalars and back.

Shape letters: B items, C channels, T samples, N patches, K code books, L levels, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from polyjanus.core.errors import MediaError, SequenceError
from polyjanus.core.modules import Prepared, in_groups
from polyjanus.encoders.shared.feature_codec import FeatureCodec, FeatureKind
from polyjanus.encoders.shared.fsq import FiniteScalars
from polyjanus.encoders.shared.patch1d import to_patches
from polyjanus.encoders.shared.signals import SignalModality

GROUPS = 8


class Mixing(nn.Module):
    """Two convolutions over neighbouring patches, added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv1d(width, width, 3, padding=1),
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, values: Tensor) -> Tensor:
        """Return values (B, d, N)."""
        return values + self.layers(values)


class PatchQuantiser(nn.Module):
    """Patches (B, N, C · patch) to K codes each, by finite scalar quantisation, and back.

    Latents are normalised over the batch before they are rounded, so that training does not collapse to a few codes;
    outside training the statistics that it gathered are used, and never changed.
    """

    def __init__(self, size: int, *, width: int, depth: int, levels: Sequence[int], codebooks: int) -> None:
        super().__init__()
        self.scalars = FiniteScalars(levels)
        self.codebooks = codebooks
        latents = codebooks * len(self.scalars.levels)
        self.encoder = nn.Sequential(
            nn.Conv1d(size, width, 1), *(Mixing(width) for _ in range(depth)), nn.Conv1d(width, latents, 1)
        )
        self.norm = nn.BatchNorm1d(latents, affine=False)
        self.decoder = nn.Sequential(
            nn.Conv1d(latents, width, 1), *(Mixing(width) for _ in range(depth)), nn.Conv1d(width, size, 1)
        )

    def codes(self, patches: Tensor) -> Tensor:
        """Return codes (B, N, K), int64."""
        return self.scalars.codes(self.scalars.quantise(self.latents(patches)))

    def latents(self, patches: Tensor) -> Tensor:
        """Return what is rounded to codes (B, N, K, L), normalised by the gathered statistics."""
        norm = self.norm
        latents = nn.functional.batch_norm(
            self.encoder(patches.transpose(1, 2)), norm.running_mean, norm.running_var, training=False, eps=norm.eps
        )
        return self._split(latents)

    def patches(self, codes: Tensor) -> Tensor:
        """Return patches (B, N, C · patch) of codes (B, N, K)."""
        vectors = self.scalars.vectors(codes).to(next(self.parameters()).dtype)
        return self.decoder(vectors.flatten(2).transpose(1, 2)).transpose(1, 2)

    def rebuilt(self, patches: Tensor) -> Tensor:
        """Return the patches through the quantiser and back, with gradient."""
        vectors = self.scalars.quantise(self._split(self.norm(self.encoder(patches.transpose(1, 2)))))
        return self.decoder(vectors.flatten(2).transpose(1, 2)).transpose(1, 2)

    def _split(self, latents: Tensor) -> Tensor:
        """Return latents (B, N, K, L) of latents (B, K · L, N)."""
        return latents.transpose(1, 2).unflatten(2, (self.codebooks, -1))


class Fsq1dCodec(FeatureCodec):
    """A signal of at most `seconds` as K codes per `patch` samples; decoding gives whole patches.

    A codec of something computed from the signal, such as its spectrum, overrides `values` and `medium`.
    """

    def __init__(
        self,
        modality: SignalModality,
        *,
        patch: int,
        seconds: float,
        width: int,
        depth: int,
        levels: Sequence[int],
        codebooks: int,
        sample_rate: float,
        is_fixed: bool,
        num_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.modality, self.patch, self.sample_rate = modality, patch, sample_rate
        self.num_channels = num_channels or len(modality.channels)
        self.quantiser = PatchQuantiser(
            self.num_channels * patch, width=width, depth=depth, levels=levels, codebooks=codebooks
        )
        self.cardinality = self.quantiser.scalars.cardinality
        self.num_codebooks = codebooks
        self.latent_width = self.quantiser.codebooks * len(levels)
        self.max_codes = max(1, ceil(round(seconds * sample_rate, 6) / patch))
        self.min_codes = self.max_codes if is_fixed else 1

    def values(self, media: Any) -> Tensor:
        """Return what the network sees of a signal, (C, T), about as large as 1."""
        return torch.from_numpy(self.modality.values(media, self.sample_rate))

    def medium(self, values: Tensor) -> Any:
        """Return the signal of what the network gives, (C, T)."""
        return self.modality.make(values.numpy() * self.modality.scale, self.sample_rate)

    def prepare(self, media: Any) -> Prepared:
        """Return the patches (N, C · patch), float32; a signal that is too long is a MediaError."""
        values = self.values(media)
        if self.min_codes == self.max_codes:  # one length for all: the end is cut or filled up with zeros
            length = self.max_codes * self.patch
            values = nn.functional.pad(values[:, :length], (0, max(0, length - values.shape[1])))
        patches = to_patches(values, self.patch).flatten(1)
        if patches.shape[0] > self.max_codes:
            raise MediaError(
                f"{values.shape[1] / self.sample_rate:g} s are more than the codec's"
                f" {self.max_codes * self.patch / self.sample_rate:g} s",
                where=self.modality.name,
                hint="take a part with 'start' and 'duration', or raise 'seconds' of the codec",
            )
        return {"patches": patches}

    def num_codes(self, prepared: Prepared) -> int:
        """Return the number of patches."""
        return prepared["patches"].shape[0]

    def features(self, output: FeatureKind, *, patches: Tensor) -> Tensor:
        """Return features (B, N, K · L) of patches (B, N, C · patch)."""
        latents = self.quantiser.latents(patches)
        return (latents if output == "latents" else self.quantiser.scalars.quantise(latents)).flatten(2)

    @torch.no_grad()
    def encode(self, items: Sequence[Prepared]) -> list[Tensor]:
        """Return the codes (N, K) of each item."""
        return in_groups(items, self.quantiser.codes, self)

    @torch.no_grad()
    def decode(self, codes: Sequence[Tensor]) -> list[Any]:
        """Return the signal of each item's codes (N, K)."""
        wrong = [item for item in codes if item.ndim != 2 or not item.shape[0] or item.shape[1] != self.num_codebooks]
        if wrong:
            raise SequenceError(f"codes are (1 or more, {self.num_codebooks}), these are {tuple(wrong[0].shape)}")
        place = next(self.parameters()).device
        rebuilt = in_groups([{"codes": item.to(place)} for item in codes], self.quantiser.patches, self)
        shape = (self.num_channels, self.patch)
        return [self.medium(item.unflatten(1, shape).transpose(0, 1).flatten(1).float().cpu()) for item in rebuilt]

    def reconstruct(self, items: Sequence[Prepared]) -> tuple[Tensor, int]:
        """Return the sum over items of the mean absolute error, of values divided by the scale, and their number."""
        return torch.stack(in_groups(items, self._loss, self)).sum(), len(items)

    def _loss(self, patches: Tensor) -> Tensor:
        return (self.quantiser.rebuilt(patches) - patches).abs().float().flatten(1).mean(1)
