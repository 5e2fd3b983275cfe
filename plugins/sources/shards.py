"""Samples in tar shards, found by an index of where each file begins; nothing is ever unpacked."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from zipfile import BadZipFile

import numpy as np

from polyjanus.core.data.rows import Row, Source
from polyjanus.core.errors import DataError
from polyjanus.core.settings import BuildContext
from polyjanus.plugins.sources import MESSAGES, SUFFIXES
from polyjanus.plugins.sources.columns import ColumnRows, expand

VERSION = 1
BLOCK = 512
JSON = "json"


@dataclass
class Index:
    """Where the samples of one shard are; `fault` says why the rest of it cannot be read, where that is so."""

    names: np.ndarray
    """Name of each sample, as bytes."""
    starts: np.ndarray
    """First member of each sample, and the number of members at the end."""
    suffixes: np.ndarray
    """Suffix of each member, without the first dot."""
    offsets: np.ndarray
    sizes: np.ndarray
    fault: str = ""

    def __len__(self) -> int:
        """Return the samples, and one more that stands for what cannot be read."""
        return len(self.names) + bool(self.fault)


class TarShards(Source):
    """One row per sample; a shard that is damaged or missing has one row more, which says so.

    The settings are a WebDatasetConfig.
    """

    def __init__(self, settings: Any, context: BuildContext) -> None:
        self.shards = expand(settings.path, context.locate_file)
        cache = context.locate_file(settings.cache) if settings.cache else Path.home() / ".cache/polyjanus/shards"
        self.stamps = [_stamp(shard) for shard in self.shards]
        self.indexes = [_index(*each, cache) for each in zip(self.shards, self.stamps, strict=True)]
        self.starts = np.cumsum([0, *map(len, self.indexes)])
        if not any(len(index.names) for index in self.indexes):
            faults = "; ".join(
                f"{shard}: {index.fault or 'is empty'}"
                for shard, index in zip(self.shards[:3], self.indexes, strict=False)
            )
            raise DataError(f"no sample can be read: {faults}")
        self.columns = settings.columns or {
            **{suffix[1:]: settings.medium for suffix in SUFFIXES.get(settings.medium, ())},
            **{"txt": "text", JSON: MESSAGES},
        }
        self.rows = ColumnRows(settings)

    def __len__(self) -> int:
        """Return the number of samples of all shards."""
        return int(self.starts[-1])

    def place(self, index: int) -> str:
        """Return the shard and the name of the sample in it."""
        shard, sample = self._locate(index)
        names = self.indexes[shard].names
        return f"{self.shards[shard]}: {names[sample].decode()}" if sample < len(names) else str(self.shards[shard])

    def row(self, index: int, noise: np.random.Generator) -> Row:
        """Return one sample as messages."""
        number, sample = self._locate(index)
        found = self.indexes[number]
        if sample == len(found.names):
            raise DataError(found.fault)
        files = {suffix: place for suffix, *place in self._members(number, sample)}
        values = {name: self._value(number, name, files[name]) for name in self.columns if name in files}
        roles = {name: role for name, role in self.columns.items() if values.get(name) is not None}

        def member(path: str) -> bytes:
            if path not in files:
                raise DataError(f"names a file {path!r}; the sample has {', '.join(files)}")
            return self._read(number, *files[path])

        return self.rows.row(values, roles or self.columns, member, noise)

    def _locate(self, index: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        return shard, index - int(self.starts[shard])

    def _members(self, number: int, sample: int) -> Iterator[tuple[str, int, int]]:
        """Yield suffix, offset and size of each file of a sample."""
        index = self.indexes[number]
        for member in range(int(index.starts[sample]), int(index.starts[sample + 1])):
            yield index.suffixes[member].decode(), int(index.offsets[member]), int(index.sizes[member])

    def _value(self, number: int, name: str, place: list[int]) -> Any:
        """Return a file of a sample as its column says: bytes of a medium, text, or messages if it holds any."""
        content = self._read(number, *place)
        role = self.columns[name]
        if role == MESSAGES:
            try:
                parsed = json.loads(content)
            except (ValueError, RecursionError) as error:
                raise DataError(f"its {name} is no JSON: {error}") from None
            return parsed.get(MESSAGES) if isinstance(parsed, dict) else parsed
        return content.decode("utf-8-sig") if role in ("text", "prompt") else content

    def _read(self, number: int, offset: int, size: int) -> bytes:
        shard = self.shards[number]
        if _stamp(shard) != self.stamps[number]:
            raise DataError("the shard has changed or gone since it was opened")
        with shard.open("rb") as file:
            file.seek(offset)
            return file.read(size)


def _stamp(shard: Path) -> tuple[int, int] | None:
    """Return size and time of a file, by which a change is noticed; None where there is none."""
    try:
        status = shard.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _index(shard: Path, stamp: tuple[int, int] | None, cache: Path) -> Index:
    """Return the index of a shard, from the cache where it has one of the same file."""
    if stamp is None:
        return _as_index([], "there is no such shard")
    name = hashlib.sha256(f"{VERSION} {shard} {stamp}".encode()).hexdigest()[:32]
    kept = cache / f"{name}.npz"
    with suppress(OSError, ValueError, KeyError, BadZipFile), np.load(kept, allow_pickle=False) as arrays:
        fields = {field: arrays[field] for field in ("names", "starts", "suffixes", "offsets", "sizes")}
        return Index(**fields, fault=str(arrays["fault"]))
    found = _scan(shard, stamp[0])
    with suppress(OSError):  # an index that cannot be kept is made again
        cache.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=cache, suffix=".tmp", delete=False) as draft:
            np.savez(draft, **vars(found))
        os.replace(draft.name, kept)
    return found


def _scan(shard: Path, size: int) -> Index:
    """Read the headers of a shard as far as they can be read."""
    members: list[tuple[str, str, int, int]] = []
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                if member.isreg() and stem:
                    members.append(
                        (f"{folder}/{stem}" if folder else stem, suffix.lower(), member.offset_data, member.size)
                    )
        with shard.open("rb") as file:  # tarfile ends in silence at a header that it cannot read
            file.seek(tar.offset)
            block = file.read(BLOCK)
        fault = "is cut off" if len(block) < BLOCK else "is damaged"
        return _as_index(members, f"the shard {fault} after {len(members)} files" if any(block) else "")
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        reason = f"is damaged after {len(members)} files: {error}" if members else f"is no tar file: {error}"
        whole = [member for member in members if member[2] + member[3] <= size]
        return _as_index(whole, f"the shard {reason}")


def _as_index(members: list[tuple[str, str, int, int]], fault: str) -> Index:
    """Return members as samples: neighbours of one name belong together."""
    starts = [place for place, member in enumerate(members) if not place or member[0] != members[place - 1][0]]
    return Index(
        names=np.array([members[place][0].encode() for place in starts], dtype=np.bytes_),
        starts=np.array([*starts, len(members)], np.int64),
        suffixes=np.array([suffix.encode() for _, suffix, _, _ in members], dtype=np.bytes_),
        offsets=np.array([offset for _, _, offset, _ in members], np.int64),
        sizes=np.array([length for *_, length in members], np.int64),
        fault=fault,
    )
