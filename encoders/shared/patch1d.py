"""The torch side of `patch1d`: stretches of a signal become tokens of a small transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polyjanus.core.modules import Encoder, Grid, Prepared
from polyjanus.encoders.shared.signals import SignalModality
from polyjanus.encoders.shared.transformer import TokenTransformer, sinusoids


class Patch1dEncoder(Encoder):
    """One token per `patch` samples of all channels; the last patch is filled up with zeros."""

    def __init__(
        self, modality: SignalModality, *, patch: int, width: int, depth: int, heads: int, sample_rate: float
    ) -> None:
        super().__init__()
        self.modality, self.patch, self.width, self.sample_rate = modality, patch, width, sample_rate
        self.embedding = nn.Linear(len(modality.channels) * patch, width)
        self.transformer = TokenTransformer(width, depth, heads)

    def prepare(self, media: object) -> Prepared:
        """Return the patches (N, C · patch), float32."""
        values = torch.from_numpy(self.modality.values(media, self.sample_rate))
        return {"patches": to_patches(values, self.patch).flatten(1)}

    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return the number of patches."""
        return prepared["patches"].shape[0], None

    def forward_stacked(self, patches: Tensor) -> Tensor:
        """Return features (B, N, d) of patches (B, N, C · patch)."""
        tokens = self.embedding(patches)
        places = sinusoids(torch.arange(tokens.shape[1], device=tokens.device), self.width)
        return self.transformer(tokens + places.to(tokens.dtype))


def to_patches(values: Tensor, patch: int) -> Tensor:
    """Return patches (N, C, patch) of values (C, T), zeros filling the last one."""
    missing = -values.shape[1] % patch
    return nn.functional.pad(values, (0, missing)).unflatten(1, (-1, patch)).transpose(0, 1)
