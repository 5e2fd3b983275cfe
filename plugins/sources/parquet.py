"""Rows of Parquet files, found by row group and decoded as few groups at a time as fit in a bound of memory."""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from polyjanus.core.data.rows import Row, Source
from polyjanus.core.errors import DataError
from polyjanus.core.settings import BuildContext
from polyjanus.plugins.sources import MESSAGES
from polyjanus.plugins.sources.columns import ColumnRows, expand

MEGABYTE = 1 << 20
BATCH = 16
"""Rows that are decoded at once of a row group that is larger than the bound."""


class ParquetRows(Source):
    """One row per row of the files; a group of rows is decoded as a whole, and the last ones used are kept.

    The settings are a ParquetConfig.
    """

    def __init__(self, settings: Any, context: BuildContext) -> None:
        self.files = expand(settings.path, context.locate_file)
        self.root = context.locate_file(settings.root) if settings.root else None
        self.bound = settings.cache_mb * MEGABYTE
        self.groups: list[tuple[int, int]] = []
        """File and number there of each row group."""
        self.sizes: list[int] = []
        """Bytes of each row group, decoded."""
        counts = [0]
        self.first: list[int] = []
        """Number of the first row of each file."""
        for number, file in enumerate(self.files):
            self.first.append(sum(counts))
            metadata = _open(file).metadata
            for group in range(metadata.num_row_groups):
                self.groups.append((number, group))
                self.sizes.append(metadata.row_group(group).total_byte_size)
                counts.append(metadata.row_group(group).num_rows)
        self.starts = np.cumsum(counts)
        self.columns = _columns(settings, self.files[0])
        self.names = None if MESSAGES in self.columns.values() else list(self.columns)
        self.rows = ColumnRows(settings)
        self._tables: OrderedDict[int, Any] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of rows of all files."""
        return int(self.starts[-1])

    def place(self, index: int) -> str:
        """Return the file and the number of the row in it, from zero."""
        group = self._group(index)
        number = self.groups[group][0]
        return f"{self.files[number]}: row {index - self.first[number]}"

    def row(self, index: int, noise: np.random.Generator) -> Row:
        """Return one row as messages."""
        group = self._group(index)
        file = self.files[self.groups[group][0]]
        root = self.root or file.parent
        values = self._values(group, index - int(self.starts[group]))
        return self.rows.row(values, self.columns, lambda path: str(root / path), noise)

    def _group(self, index: int) -> int:
        return int(np.searchsorted(self.starts, index, side="right")) - 1

    def _values(self, group: int, offset: int) -> dict[str, Any]:
        """Return the columns of one row of a group."""
        file, number = self.groups[group]
        opened = _open(self.files[file])
        if self.sizes[group] > self.bound:
            batches = opened.iter_batches(BATCH, row_groups=[number], columns=self.names)
            for batch in batches:
                if offset < len(batch):
                    return batch.slice(offset, 1).to_pylist()[0]
                offset -= len(batch)
            raise DataError("the row group is shorter than the file says")
        if group not in self._tables:
            self._tables[group] = opened.read_row_group(number, columns=self.names)
            while len(self._tables) > 1 and sum(table.nbytes for table in self._tables.values()) > self.bound:
                self._tables.popitem(last=False)
        self._tables.move_to_end(group)
        return self._tables[group].slice(offset, 1).to_pylist()[0]


@lru_cache(maxsize=16)
def _opened(file: Path, size: int, changed: int) -> pq.ParquetFile:
    return pq.ParquetFile(file)


def _open(file: Path) -> pq.ParquetFile:
    """Return an open file; one that changed is opened again."""
    try:
        status = file.stat()
        return _opened(file, status.st_size, status.st_mtime_ns)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as Parquet: {error}") from error


def _columns(settings: Any, file: Path) -> dict[str, str]:
    """Return the role of each column that is used."""
    names = _open(file).schema_arrow.names
    columns = settings.columns or ({MESSAGES: MESSAGES} if MESSAGES in names else {})
    missing = [name for name in columns if name not in names]
    if missing or not columns:
        found = f"{file} has the columns {', '.join(names)}"
        raise DataError(
            f"{found}; {missing[0]!r} is not among them" if missing else f"{found}, none of them 'messages'",
            hint="say which are which: columns: {image: image, caption: text}",
        )
    return dict(columns)
