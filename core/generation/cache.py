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
        """Write new states (R, heads, N, head width) to the open slots; return what is looked at, for these rows."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        return self._write(self.keys, key_states), self._write(self.values, value_states)

    def _write(self, kept: Tensor, states: Tensor) -> Tensor:
        cache, rows = self._cache, states.shape[0]
        kept = kept if rows == cache.rows else kept[:rows]
        if isinstance(cache.open, Tensor):
            kept.index_copy_(2, cache.open, states)
        else:
            kept[:, :, cache.open] = states
        return kept[:, :, : cache.extent]

    def copy_prefix(self, row: int, prefix: SlotLayer, length: int) -> None:
        """Take over the first slots of the only row of another cache's layer."""
        assert self.keys is not None and self.values is not None
        assert prefix.keys is not None and prefix.values is not None
        self.keys[row, :, :length] = prefix.keys[0, :, :length]
        self.values[row, :, :length] = prefix.values[0, :, :length]

    def repeat_row(self, row: int, length: int) -> None:
        """Give all later rows the first slots of this one."""
        assert self.keys is not None and self.values is not None
        self.keys[row + 1 :, :, :length] = self.keys[row, :, :length]
        self.values[row + 1 :, :, :length] = self.values[row, :, :length]

    def clear(self) -> None:
        """Forget everything, in place."""
        if self.keys is not None and self.values is not None:
            self.keys.zero_()
            self.values.zero_()

    def drop(self) -> None:
        """Give the memory back."""
        self.keys = self.values = None
        self.is_initialized = False

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return how many keys there are, and their offset."""
        return self._cache.extent, 0

    def get_seq_length(self) -> int:
        """Return how many slots were in use before the open ones."""
        return self._cache.start

    def get_max_length(self) -> int:
        """Return -1: the cache grows."""
        return -1


class SlotCache(hf.Cache):
    """The cache of one generation: `rows` rows whose used slots are told by `visible` (rows, slots).

    One that is fixed shows, for a single position, the enclosing bucket of its slots and writes where a tensor says:
    what is computed over it has the same shapes, and the same operations, until the next bucket.
    """

    def __init__(self, layers: int, rows: int, capacity: int, device: torch.device, is_fixed: bool = False) -> None:
        self.rows = rows
        self.capacity = -(-capacity // BUCKET) * BUCKET
        self.is_fixed = is_fixed
        self.slot = 0
        """How many slots are in use, the open ones included."""
        self.start = 0
        """The first of the open slots."""
        self.open: slice | Tensor = slice(0, 0)
        """Where new states are written."""
        self.extent = 0
        """How many slots are looked at."""
        self.index = torch.zeros(1, dtype=torch.long, device=device)
        self.visible = torch.zeros(rows, self.capacity, dtype=torch.bool, device=device)
        self.positions = torch.zeros(rows, self.capacity, dtype=torch.long, device=device)
        self.scratch: dict[str, Any] = {}
        """What is made for these tensors and lasts as long as they do."""
        self.slot_layers = [SlotLayer(self) for _ in range(layers)]
        super().__init__(layers=list(self.slot_layers))

    def open_slots(self, count: int) -> None:
        """Take the next slots, for what is fed now."""
        self.start, self.slot = self.slot, self.slot + count
        if self.slot > self.capacity:
            self._grow(-(-self.slot // BUCKET) * BUCKET)
        if self.is_fixed and count == 1:
            self.index.fill_(self.start)
            self.open, self.extent = self.index, -(-self.slot // BUCKET) * BUCKET
        else:
            self.open, self.extent = slice(self.start, self.slot), self.slot

    def _grow(self, capacity: int) -> None:
        missing, self.capacity = capacity - self.capacity, capacity
        self.visible = torch.nn.functional.pad(self.visible, (0, missing))
        self.positions = torch.nn.functional.pad(self.positions, (0, missing))
        for layer in self.slot_layers:
            layer.grow(capacity)
        self.scratch.clear()

    def look(self, active: Tensor, positions: Tensor) -> Tensor | None:
        """Note which rows (R,) feed at the one open slot, and their positions (R,); return what they see (R, 1, M).

        None says that they see everything; where asking would cost a wait, nobody asks.
        """
        rows = active.shape[0]
        visible, places = self.visible[:rows], self.positions[:rows]
        if isinstance(self.open, Tensor):
            visible.index_copy_(1, self.open, active.unsqueeze(1))
            places.index_copy_(1, self.open, positions.unsqueeze(1))
            return visible[:, : self.extent].index_fill(1, self.open, True).unsqueeze(1)  # one that waits sees itself
        visible[:, self.start] = active
        places[:, self.start] = positions
        mask = visible[:, : self.extent].clone()
        mask[:, -1] = True
        return None if mask.device.type == "cpu" and bool(mask.all()) else mask.unsqueeze(1)

    def key_positions(self, queries: Tensor) -> Tensor:
        """Return the positions (rows, M) of all slots looked at, for queries (rows, N)."""
        return self.positions[: queries.shape[0], : self.extent]

    def open_row(self, row: int, prefix: SlotCache, length: int) -> None:
        """Start a row anew from the first `length` slots of a prefix."""
        for mine, theirs in zip(self.slot_layers, prefix.slot_layers, strict=True):
            mine.copy_prefix(row, theirs, length)
        self.visible[row] = False
        self.visible[row, :length] = True
        self.positions[row, :length] = prefix.positions[0, :length]

    def repeat_row(self, row: int, length: int) -> None:
        """Give all later rows the first `length` slots of this one."""
        for layer in self.slot_layers:
            layer.repeat_row(row, length)
        self.visible[row + 1 :, :length] = self.visible[row, :length]
        self.positions[row + 1 :, :length] = self.positions[row, :length]

    def clear(self) -> None:
        """Forget everything, in place: what was made for these tensors stays good."""
        self.slot = 0
        self.visible.zero_()
        for layer in self.slot_layers:
            layer.clear()

    def drop(self) -> None:
        """Give the memory back at once: what refers to itself would keep it until it is collected."""
        self.scratch.clear()
        for layer in self.slot_layers:
            layer.drop()
