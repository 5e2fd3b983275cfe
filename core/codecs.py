"""A codec in three functions: what a simple one writes, and the batching that it inherits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from polyjanus.core.modules import Codec, Prepared, group_equal_shapes, in_groups


class StackedCodec(Codec):
    """A codec of items of equal shape, stacked: `prepare`, `num_codes`, and the functions below; the rest is inherited.

    Floating tensors come in the dtype of the weights, and all of them on their device.
    """

    def encode_stacked(self, **prepared: Tensor) -> Tensor:
        """Return the codes (B, N, K), int64, of items whose prepared tensors come stacked, by name."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it encodes")

    def decode_stacked(self, codes: Tensor) -> Sequence[Any]:
        """Return the media of codes (B, N, K)."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it decodes")

    def loss_stacked(self, **prepared: Tensor) -> Tensor:
        """Return the reconstruction loss of each item (B,), for a stage that trains the codec."""
        raise NotImplementedError(f"{type(self).__name__} cannot be trained here")

    @torch.no_grad()
    def encode(self, items: Sequence[Prepared]) -> list[Tensor]:
        """Return the codes (N, K) of each item."""
        return in_groups(items, self.encode_stacked, self)

    @torch.no_grad()
    def decode(self, codes: Sequence[Tensor]) -> list[Any]:
        """Return the medium of each item's codes (N, K)."""
        media: list[Any] = [None] * len(codes)
        place = next(self.parameters(), torch.empty(0)).device
        for indices, stacked in group_equal_shapes([{"codes": item} for item in codes]):
            for index, medium in zip(indices, self.decode_stacked(stacked["codes"].to(place)), strict=True):
                media[index] = medium
        return media

    def reconstruct(self, items: Sequence[Prepared]) -> tuple[Tensor, int]:
        """Return the summed loss and the number of items."""
        return torch.stack(in_groups(items, self.loss_stacked, self)).sum(), len(items)
