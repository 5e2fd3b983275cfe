"""The small bidirectional transformer of the encoders that are trained from scratch.

Shape letters: B items, N tokens, d width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SLOWEST = 10_000.0


class TokenTransformer(nn.Module):
    """Pre-norm transformer layers over tokens (B, N, d), every one of which sees all others."""

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        layers = [
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        ]
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return features (B, N, d)."""
        for layer in self.layers:
            tokens = layer(tokens)
        return self.norm(tokens)


def sinusoids(places: Tensor, width: int) -> Tensor:
    """Return sines and cosines (…, width) of places (…), whole or not (arXiv 1706.03762, section 3.5)."""
    half = (width + 1) // 2
    steps = torch.arange(half, device=places.device, dtype=torch.float32)
    angles = places.float()[..., None] * torch.exp(-math.log(SLOWEST) * steps / max(half, 1))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[..., :width]
