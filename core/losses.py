"""Cross-entropy over many codes: where logits would be large, never held at once."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

FUSED_FROM = 1 << 26
"""Logits from which product and cross-entropy are one operation; fewer are faster in two, and take 256 MB at most."""


def is_fused(positions: int, cardinality: int, layer: nn.Module | None) -> bool:
    """Tell whether this torch can do so many logits of this layer in one operation, and it is worth it."""
    has_operation = hasattr(functional, "linear_cross_entropy")  # torch 2.13
    return has_operation and type(layer) is nn.Linear and positions * cardinality >= FUSED_FROM


def fused_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Return the summed cross-entropy of hidden (P, d) · weight (V, d) against targets (P,), in pieces.

    Under autocast the product is computed in its dtype, as that of a linear layer would be.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    fused = cast(Any, functional).linear_cross_entropy
    options = cast(Any, nn).LinearCrossEntropyOptions()
    with torch.autocast(device, enabled=False):
        return fused(hidden, weight, targets, linear_bias=bias, reduction="sum", options=options).float()
