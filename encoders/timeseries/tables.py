"""Tables of columns by name: CSV and Parquet files, and what is wrong with them."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np

from polyjanus.core.errors import MediaError
from polyjanus.core.files import guess_content
from polyjanus.encoders.shared.signals import Array

TOLERANCE = 0.01
"""How far the steps of a column of seconds may be from the declared rate, as a share."""


def header_hint(names: list[str]) -> str | None:
    """Return what names of columns that fit nothing seem to be."""
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        return "separate columns by commas, and write decimals with a point"
    try:
        _ = [float(name) for name in names]
    except ValueError:
        return None
    return "the first line has numbers; it should name the columns"


def check_column(name: str, values: Array, where: str) -> None:
    """Refuse a channel with words or gaps, and say where they are; rows count from one."""
    if values.dtype.kind in "UO":
        place, word = next((i, str(v)) for i, v in enumerate(values) if not _is_number(str(v)))
        raise MediaError(f"channel {name!r} has {word!r} at row {place + 1}", where=where, hint="numbers alone, please")
    if values.dtype.kind == "f" and values.ndim == 1 and not np.isfinite(values).all():
        place = int((~np.isfinite(values)).argmax())
        found = "no value" if np.isnan(values[place]) else str(values[place])
        raise MediaError(f"channel {name!r} has {found} at row {place + 1}", where=where, hint="fill or cut the gap")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text.strip()
    return True


def find_jump(times: Array, steps: Array, step: float) -> str:
    """Return where a column of seconds first steps otherwise than it should."""
    place = int((~(np.abs(steps / step - 1) < TOLERANCE)).argmax())
    return f"from {times[place]} to {times[place + 1]} s between rows {place + 1} and {place + 2}"


def read_csv(content: bytes, where: str) -> dict[str, Array]:
    """Return the columns of a CSV file whose first line has their names."""
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise MediaError(
            f"this is no CSV file: {error}", where=where, hint=guess_content(content, "save it as UTF-8")
        ) from error
    rows = [row for row in rows if row]
    if len(rows) < 2:
        raise MediaError("a CSV file needs a line of names and at least one of numbers", where=where)
    names = [name.strip() for name in rows[0]]
    if len(set(names)) != len(names):
        raise MediaError(
            f"two columns have one name: {sorted(n for n in names if names.count(n) > 1)[0]!r}", where=where
        )
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(names):
            raise MediaError(f"line {number} has {len(row)} values, not {len(names)}", where=where)
    columns = zip(*rows[1:], strict=True)
    return {name: _numbers(column) for name, column in zip(names, columns, strict=True)}


def _numbers(column: tuple[str, ...]) -> Array:
    """Return a column as numbers where all of it is, else as texts; nothing at all is not a number."""
    try:
        return np.array([float(text) if text.strip() else np.nan for text in column])
    except ValueError:
        return np.array(column)


def read_parquet(content: bytes, where: str) -> dict[str, Array]:
    """Return the columns of a Parquet file."""
    parquet = parquet_library()
    try:
        table = parquet.read_table(io.BytesIO(content))
        return {name: table.column(name).to_numpy() for name in table.column_names}
    except Exception as error:  # pyarrow raises several unrelated kinds
        raise MediaError(f"the Parquet file is damaged: {error}", where=where) from error


def parquet_library() -> Any:
    """Return what reads and writes Parquet; where it is missing, the remedy is a MediaError."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MediaError("Parquet files need pyarrow", hint='pip install "polyjanus[parquet]"') from error
    return pyarrow.parquet
