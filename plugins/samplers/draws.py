"""The torch side of the samplers."""

from typing import ClassVar

import torch
from torch import Tensor

from polyjanus.core.modules import Sampler

NOWHERE = float("-inf")


class GreedySampler(Sampler):
    """The likeliest code; the first of equals."""

    is_greedy: ClassVar[bool] = True

    def __init__(self, guidance: float = 1.0) -> None:
        self.guidance = guidance

    def __call__(self, logits: Tensor, noise: Tensor | None) -> Tensor:
        """Return the codes (R,) of logits (R, V); the noise is not looked at."""
        return logits.argmax(-1)


class NoiseSampler(Sampler):
    """A draw from the softmax of sharpened and cut logits, exact for uniform noise."""

    def __init__(self, temperature: float, top_p: float, top_k: int, *, guidance: float = 1.0) -> None:
        self.temperature = temperature
        self.top_p = top_p
        self.top_k = top_k
        self.guidance = guidance

    def __call__(self, logits: Tensor, noise: Tensor | None) -> Tensor:
        """Return the codes (R,) of logits (R, V) and noise (R, V)."""
        if noise is None:
            raise ValueError("a sampler that draws needs noise")
        logits = keep_top_k(logits.float() / self.temperature, self.top_k)
        logits = keep_top_p(logits, self.top_p)
        return (logits + gumbel(noise)).argmax(-1)


def gumbel(noise: Tensor) -> Tensor:
    """Return Gumbel noise of uniform noise; the argmax of logits plus it draws from their softmax (Gumbel, 1954)."""
    noise = noise.float()
    limits = torch.finfo(noise.dtype)
    return -torch.log(-torch.log(noise.clamp(limits.tiny, 1 - limits.eps)))


def keep_top_k(logits: Tensor, count: int) -> Tensor:
    """Return logits (…, V) with all but the `count` largest at minus infinity; equals of the last are kept."""
    if not 0 < count < logits.shape[-1]:
        return logits
    least = logits.topk(count, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < least, NOWHERE)


def keep_top_p(logits: Tensor, mass: float) -> Tensor:
    """Return logits (…, V) without those beyond the likeliest ones that together hold at least `mass`."""
    if mass >= 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    is_cut = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= mass)
    return logits.masked_fill(is_cut, NOWHERE)
