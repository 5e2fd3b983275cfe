"""Results on disk: shards that are whole or absent, found by digest through an index, read lazily and checked.

A shard is one safetensors file: `values` (ΣN, width) of all its items, one after the other, and per item its digest,
where it starts, its grid and a checksum of all of these. Nothing is ever changed in place, so that any number of
processes may write into one folder; of two results for one item the newer counts.
"""

from __future__ import annotations

import threading
import time
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from polyjanus.core.checkpoints.atomic import flush
from polyjanus.core.features import Kept

SUFFIX = ".safetensors"
INDEX = ("digests", "starts", "grids", "checks")
MOST_OPEN = 64
"""Shards whose files are kept mapped."""
Say = Callable[[str], None]
Index = dict[str, "np.ndarray[Any, Any]"]


class Shard:
    """One file of results."""

    def __init__(self, path: Path) -> None:
        """Read the index of a shard; a ValueError says what is wrong with it."""
        self.path = path
        try:
            with cast(Any, safe_open)(path, "pt") as file:
                noted = cast("dict[str, str]", file.metadata() or {}).get("index")
                self.index: Index = {name: file.get_tensor(name).numpy() for name in INDEX}
        except (SafetensorError, OSError, ValueError) as error:
            raise ValueError(f"its header cannot be read: {error}") from error
        if noted != _check_of_index(self.index):
            raise ValueError("its index is not what its checksum says")

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.index["checks"])

    def kept(self, file: Any, row: int) -> Kept | None:
        """Return the result of an item, or None if its bytes are not what they were."""
        start, end = (int(each) for each in self.index["starts"][row : row + 2])
        try:
            values = cast(Tensor, file.get_slice("values")[start:end])
        except (SafetensorError, OSError, RuntimeError):
            return None
        grid = self.index["grids"][row]
        if _check(self.index["digests"][row].tobytes(), values, grid) != int(self.index["checks"][row]):
            return None
        whole = values if values.is_floating_point() else values.to(torch.int64)
        return Kept(whole, tuple(int(each) for each in grid) if len(grid) and int(grid[0]) >= 0 else None)


class Shelf:
    """All that one component gave at one address."""

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder, self._say = folder, say
        self._lock = threading.Lock()
        self._files: OrderedDict[Path, Any] = OrderedDict()
        self._told: set[Path] = set()
        self.damaged = 0
        """Results that were asked for and were not what their checksums say."""
        self.broken: list[Path] = []
        """Shards whose index cannot be trusted."""
        self.shards: list[Shard] = []
        for path in sorted(folder.glob(f"[!.]*{SUFFIX}"), reverse=True):  # the newest first
            try:
                self.shards.append(Shard(path))
            except ValueError as error:
                self.broken.append(path)
                self._tell(path, f"{error}; what it held is computed anew")
        self._bounds = list(accumulate(map(len, self.shards), initial=0))
        tables = [shard.index["digests"][:, :8].copy().view(np.uint64).reshape(-1) for shard in self.shards]
        keys = np.concatenate([np.zeros(0, np.uint64), *tables])
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._recent: dict[bytes, tuple[Shard, int]] = {}

    def __len__(self) -> int:
        """Return the number of results, those that are there twice counted twice."""
        return len(self._keys) + len(self._recent)

    @property
    def num_bytes(self) -> int:
        """Return the size of all files."""
        return sum(path.stat().st_size for path in self.folder.glob(f"[!.]*{SUFFIX}"))

    def find(self, digest: bytes) -> Kept | None:
        """Return the result for an item; one that is damaged is told of once per shard, and not given."""
        for shard, row in self._places(digest):
            with self._lock:
                file = self._opened(shard.path)
                kept = None if file is None else shard.kept(file, row)
            if kept is not None:
                return kept
            self.damaged += 1
            self._tell(shard.path, "a result is not what its checksum says; it is computed anew")
        return None

    def add(self, results: dict[bytes, Kept], dtype: torch.dtype) -> Path:
        """Write results of one kind as a new shard, integers as `dtype`, whole or not at all; return its file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-{uuid4().hex[:8]}{SUFFIX}"
        draft, target = self.folder / f".{name}", self.folder / name
        try:
            _write(draft, results, dtype)
            flush(draft)
            draft.rename(target)
        finally:
            draft.unlink(missing_ok=True)
        flush(self.folder)
        shard = Shard(target)
        self._recent |= {digest: (shard, row) for row, digest in enumerate(results)}
        return target

    def _places(self, digest: bytes) -> list[tuple[Shard, int]]:
        """Return where results of this digest are, the newest first."""
        found = [self._recent[digest]] if digest in self._recent else []
        key = np.frombuffer(digest[:8], np.uint64)
        first, last = int(np.searchsorted(self._keys, key)[0]), int(np.searchsorted(self._keys, key, "right")[0])
        for position in self._order[first:last]:
            number = bisect_right(self._bounds, int(position)) - 1
            shard, row = self.shards[number], int(position) - self._bounds[number]
            if shard.index["digests"][row].tobytes() == digest:
                found.append((shard, row))
        return found

    def _opened(self, path: Path) -> Any:
        """Return a mapped file, or None if it has gone."""
        if path not in self._files:
            try:
                self._files[path] = cast(Any, safe_open)(path, "pt").__enter__()
            except (SafetensorError, OSError):
                return None
            if len(self._files) > MOST_OPEN:
                self._files.popitem(last=False)[1].__exit__(None, None, None)
        self._files.move_to_end(path)
        return self._files[path]

    def _tell(self, path: Path, what: str) -> None:
        if path not in self._told:
            self._told.add(path)
            self._say(f"{path}: {what}")


def smallest(cardinality: int) -> torch.dtype:
    """Return the smallest unsigned integers that hold codes from 0 to below `cardinality`."""
    kinds = (torch.uint8, torch.uint16, torch.uint32)
    return next(kind for kind in kinds if cardinality - 1 <= torch.iinfo(kind).max)


def _write(path: Path, results: dict[bytes, Kept], dtype: torch.dtype) -> None:
    """Write one shard."""
    values = [kept.values.detach().cpu().contiguous() for kept in results.values()]
    values = [each if each.is_floating_point() else each.to(dtype) for each in values]
    depth = max(len(kept.grid or ()) for kept in results.values())
    grids = np.array([kept.grid or [-1] * depth for kept in results.values()], np.int64).reshape(len(results), depth)
    index: Index = {
        "digests": np.frombuffer(b"".join(results), np.uint8).reshape(len(results), -1),
        "starts": np.cumsum([0, *(len(each) for each in values)]).astype(np.int64),
        "grids": grids,
        "checks": np.array([_check(d, v, g) for d, v, g in zip(results, values, grids, strict=True)], np.int64),
    }
    tensors = {"values": torch.cat(values), **{name: torch.tensor(each) for name, each in index.items()}}
    save_file(tensors, path, {"index": _check_of_index(index)})


def _check(digest: bytes, values: Tensor, grid: Sequence[int] | np.ndarray[Any, Any]) -> int:
    """Return the checksum of one result."""
    head = zlib.crc32(
        f"{values.dtype} {tuple(values.shape)} {[int(each) for each in grid]}".encode(), zlib.crc32(digest)
    )
    return zlib.crc32(values.contiguous().reshape(-1).view(torch.uint8).numpy().data, head)


def _check_of_index(index: Index) -> str:
    """Return the checksum of all that tells results apart."""
    found = 0
    for name in INDEX:
        found = zlib.crc32(f"{name} {index[name].dtype} {index[name].shape}".encode(), found)
        found = zlib.crc32(np.ascontiguousarray(index[name]).reshape(-1).view(np.uint8).data, found)
    return f"{found:08x}"
