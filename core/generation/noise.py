"""Noise that depends on nothing but seed, row and step, so that no row's draw depends on its neighbours."""

import torch
from torch import Tensor

_GOLDEN_64 = -7046029254386353131
_GOLDEN_32 = -1640531527


def _scramble(values: Tensor) -> Tensor:
    """Return the SplitMix64 finaliser of int64 values, whose shifts are logical (Steele et al., OOPSLA 2014)."""
    values = (values ^ ((values >> 30) & ((1 << 34) - 1))) * -4658895280553007687
    values = (values ^ ((values >> 27) & ((1 << 37) - 1))) * -7723592293110705685
    return values ^ ((values >> 31) & ((1 << 33) - 1))


def uniform(seeds: Tensor, steps: Tensor, column: int, width: int) -> Tensor:
    """Return float32 noise (R, width) in (0, 1) for per-row `seeds` (R,) and `steps` (R,) and a column of the frame.

    Each row has a key of 64 bits; its numbers are a counter mixed with both halves of the key in 32-bit arithmetic,
    which is all that processors without 64-bit vector products do fast.
    """
    keys = _scramble(_scramble(seeds * _GOLDEN_64 + steps) + column).unsqueeze(1)
    low, high = (keys << 32 >> 32).int(), (keys >> 32).int()
    values = torch.arange(width, dtype=torch.int32, device=seeds.device) * _GOLDEN_32 + low
    values.bitwise_xor_((values >> 16).bitwise_and_(0xFFFF)).mul_(0x7FEB352D).bitwise_xor_(high)
    values.bitwise_xor_((values >> 15).bitwise_and_(0x1FFFF)).mul_(-2073254261)
    bits = values.bitwise_right_shift_(9).float()  # the upper 23 bits, signed; more would round to one
    return bits.add_((1 << 22) + 0.5).mul_(2.0**-23)


def row_seeds(seed: int, rows: Tensor) -> Tensor:
    """Return one seed per row (R,)."""
    return _scramble(rows.long() * _GOLDEN_64 + seed)
