"""Finite scalar quantisation (arXiv 2309.15505): round each dimension to a few values; no code book is learned."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

EPSILON = 1e-3


class FiniteScalars:
    """Vectors of a few values each, numbered; dimension i has `levels[i]` values between -1 and 1."""

    def __init__(self, levels: Sequence[int]) -> None:
        self.levels = tuple(levels)
        self.cardinality = prod(self.levels)

    def quantise(self, latents: Tensor) -> Tensor:
        """Return the nearest vectors (…, d) of latents (…, d); gradients pass straight through the rounding."""
        levels = self._tensor(self.levels, latents).float()
        half = (levels - 1) * (1 - EPSILON) / 2
        offset = torch.where(levels % 2 == 0, 0.5, 0.0)
        bounded = torch.tanh(latents.float() + torch.atanh(offset / half)) * half - offset
        rounded = bounded + (bounded.round() - bounded).detach()
        return (rounded / (levels // 2)).to(latents.dtype)

    def codes(self, vectors: Tensor) -> Tensor:
        """Return the numbers (…), int64, of quantised vectors (…, d)."""
        levels = self._tensor(self.levels, vectors)
        digits = (vectors.detach().float() * (levels // 2)).round().long() + levels // 2
        return (digits * self._bases(vectors)).sum(-1)

    def vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors (…, d), float32, of codes (…)."""
        levels = self._tensor(self.levels, codes)
        digits = codes[..., None] // self._bases(codes) % levels
        half = levels // 2
        return (digits - half).float() / half

    def _bases(self, like: Tensor) -> Tensor:
        return self._tensor([prod(self.levels[:i]) for i in range(len(self.levels))], like)

    @staticmethod
    def _tensor(numbers: Sequence[int], like: Tensor) -> Tensor:
        return torch.tensor(numbers, device=like.device)
