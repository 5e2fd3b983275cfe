"""Transformer layers whose tensors are named as in timm, and so in most published vision, point and brain models.

Shape letters: B items, N tokens, d width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Attention of all tokens to all; queries, keys and values in one product without bias.

    With a `norm`, the epsilon of a layer norm, queries and keys are normalised per head.
    """

    def __init__(self, width: int, heads: int, norm: float | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_norm = nn.Identity() if norm is None else nn.LayerNorm(width // heads, eps=norm)
        self.k_norm = nn.Identity() if norm is None else nn.LayerNorm(width // heads, eps=norm)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, N, d)."""
        queries, keys, values = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(self.q_norm(queries), self.k_norm(keys), values)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers, four times as wide between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, N, d)."""
        return self.fc2(nn.functional.gelu(self.fc1(tokens)))


class Block(nn.Module):
    """One layer, normalised before each half."""

    def __init__(self, width: int, heads: int, *, epsilon: float = 1e-5, normalises_queries: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=epsilon)
        self.attn = Attention(width, heads, epsilon if normalises_queries else None)
        self.norm2 = nn.LayerNorm(width, eps=epsilon)
        self.mlp = Mlp(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, N, d)."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class ScaledBlock(Block):
    """One layer each half of which is scaled per value of the width (LayerScale, arXiv 2103.17239)."""

    def __init__(self, width: int, heads: int, *, scale: float, epsilon: float, normalises_queries: bool) -> None:
        super().__init__(width, heads, epsilon=epsilon, normalises_queries=normalises_queries)
        self.scale = scale
        self.gamma_1 = nn.Parameter(torch.empty(width))
        self.gamma_2 = nn.Parameter(torch.empty(width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the scales anew."""
        nn.init.constant_(self.gamma_1, self.scale)
        nn.init.constant_(self.gamma_2, self.scale)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, N, d)."""
        tokens = tokens + self.gamma_1 * self.attn(self.norm1(tokens))
        return tokens + self.gamma_2 * self.mlp(self.norm2(tokens))
