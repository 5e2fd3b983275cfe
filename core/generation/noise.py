"""Noise that depends on nothing but seed, row and step, so that no row's draw depends on its neighbours."""

import torch
from torch import Tensor

_MASK_34 = (1 << 34) - 1
_MASK_37 = (1 << 37) - 1
_MASK_33 = (1 << 33) - 1
_GOLDEN = -7046029254386353131
_MIX_1 = -4658895280553007687
_MIX_2 = -7723592293110705685


def _scramble(values: Tensor) -> Tensor:
    """Return the SplitMix64 finaliser of int64 values, whose shifts are logical (Steele et al., OOPSLA 2014)."""
    values = (values ^ ((values >> 30) & _MASK_34)) * _MIX_1
    values = (values ^ ((values >> 27) & _MASK_37)) * _MIX_2
    return values ^ ((values >> 31) & _MASK_33)


def uniform(seeds: Tensor, steps: Tensor, column: int, width: int) -> Tensor:
    """Return float32 noise (R, width) in (0, 1) for per-row `seeds` (R,) and `steps` (R,) and a column of the frame."""
    keys = _scramble(_scramble(seeds * _GOLDEN + steps) + column)
    counter = torch.arange(1, width + 1, device=seeds.device) * _GOLDEN
    bits = _scramble(keys.unsqueeze(1) + counter) >> 41  # the upper 23 bits, signed; more would round to one
    return (bits + (1 << 22)).float().add_(0.5).mul_(2.0**-23)


def row_seeds(seed: int, rows: Tensor) -> Tensor:
    """Return one seed per row (R,)."""
    return _scramble(rows.long() * _GOLDEN + seed)
