"""A key-value cache written in place: the slot is shared, positions and visibility are per row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from polyjanus.core import hf

BUCKET = 256
"""Slots by which the cache grows."""


class SlotLayer(hf.CacheLayerMixin):
    """Keys and values (rows, heads, slots, head width) of one layer."""

    is_sliding = False

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._cache = cache

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate for all rows of the cache."""
        self.keys = self._empty(key_states)
        self.values = self._empty(value_states)
        self.is_initialized = True

    def _empty(self, states: Tensor) -> Tensor:
        return states.new_zeros(self._cache.rows, states.shape[1], self._cache.capacity, states.shape[3])

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` slots."""
        if self.keys is None or self.values is None:
            return
        missing = capacity - self.keys.shape[2]
        self.keys = torch.nn.functional.pad(self.keys, (0, 0, 0, missing))
        self.values = torch.nn.functional.pad(self.values, (0, 0, 0, missing))

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the new states at the cache's slot; return all that are in use, for the rows at hand."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        rows, start, end = key_states.shape[0], self._cache.slot, self._cache.slot + key_states.shape[2]
        self.keys[:rows, :, start:end] = key_states
        self.values[:rows, :, start:end] = value_states
        return self.keys[:rows, :, :end], self.values[:rows, :, :end]

    def copy_prefix(self, row: int, prefix: SlotLayer, length: int) -> None:
        """Take over the first slots of the only row of another cache's layer."""
        assert self.keys is not None and self.values is not None
        assert prefix.keys is not None and prefix.values is not None
        self.keys[row, :, :length] = prefix.keys[0, :, :length]
        self.values[row, :, :length] = prefix.values[0, :, :length]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return how many keys there will be, and their offset."""
        return self._cache.slot + query_length, 0

    def get_seq_length(self) -> int:
        """Return how many slots are in use."""
        return self._cache.slot

    def get_max_length(self) -> int:
        """Return -1: the cache grows."""
        return -1


class SlotCache(hf.Cache):
    """The cache of one generation: `rows` rows whose used slots are told by `visible` (rows, slots)."""

    def __init__(self, layers: int, rows: int, capacity: int, device: torch.device) -> None:
        self.rows = rows
        self.capacity = -(-capacity // BUCKET) * BUCKET
        self.slot = 0
        self.visible = torch.zeros(rows, self.capacity, dtype=torch.bool, device=device)
        self.positions = torch.zeros(rows, self.capacity, dtype=torch.long, device=device)
        self.scratch: dict[str, Any] = {}
        """What a backbone keeps for the length of this generation."""
        self.slot_layers = [SlotLayer(self) for _ in range(layers)]
        super().__init__(layers=list(self.slot_layers))

    def reserve(self, count: int) -> None:
        """Make sure that `count` more slots can be written."""
        if self.slot + count <= self.capacity:
            return
        missing = -(-(self.slot + count - self.capacity) // BUCKET) * BUCKET
        self.capacity += missing
        self.visible = torch.nn.functional.pad(self.visible, (0, missing))
        self.positions = torch.nn.functional.pad(self.positions, (0, missing))
        for layer in self.slot_layers:
            layer.grow(self.capacity)

    def key_positions(self, queries: Tensor) -> Tensor:
        """Return the positions (rows, M) of all keys in use, the queries (rows, N) just being written included."""
        return self.positions[: queries.shape[0], : self.slot + queries.shape[1]]

    def open_row(self, row: int, prefix: SlotCache, length: int) -> None:
        """Start a row anew from the first `length` slots of a prefix."""
        for mine, theirs in zip(self.slot_layers, prefix.slot_layers, strict=True):
            mine.copy_prefix(row, theirs, length)
        self.visible[row] = False
        self.visible[row, :length] = True
        self.positions[row, :length] = prefix.positions[0, :length]
