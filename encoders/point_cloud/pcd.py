"""PCD files of the Point Cloud Library: text, binary, and binary compressed by LZF."""

from __future__ import annotations

import struct

import numpy as np

from polyjanus.core.errors import MediaError
from polyjanus.core.files import check_size
from polyjanus.encoders.point_cloud.cloud import Array, Columns
from polyjanus.encoders.point_cloud.tables import lines_of, read_rows

HEADER_BYTES = 65536
"""A header that does not end within so many is none."""
KINDS = {"F": "f", "U": "u", "I": "i"}
LONGEST_SHORT = 7
"""In LZF, a length that says that the next byte is added to it."""


def read_pcd(content: bytes, where: str, *, max_bytes: int) -> Columns:
    """Return the points of a PCD file: x y z, rgb or rgba as PCL packs them, normals.

    `max_bytes` is how large compressed data may become.
    """
    header, start = _read_header(content, where)
    try:
        dtype, count = _row_type(header)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise MediaError(f"the PCD header is damaged: {str(error)[:120]}", where=where) from error
    if not count:
        return Columns(np.zeros((0, 3)))
    form = " ".join(header["DATA"])
    if form == "ascii":
        values = _read_text(content[start:], where, dtype, count)
    elif form == "binary":
        values = _read_binary(content, where, dtype, (start, count))
    elif form == "binary_compressed":
        check_size(count * dtype.itemsize, max_bytes=max_bytes, where=where)
        values = _read_compressed(content, where, dtype, (start, count))
    else:
        raise MediaError(f"PCD data is 'ascii', 'binary' or 'binary_compressed', not {form!r}", where=where)
    return _columns(values, where)


def _read_header(content: bytes, where: str) -> tuple[dict[str, list[str]], int]:
    header: dict[str, list[str]] = {}
    start = 0
    while "DATA" not in header:
        end = content.find(b"\n", start, HEADER_BYTES)
        if end < 0:
            raise MediaError("the PCD header has no line 'DATA'", where=where, hint="was the file cut off?")
        words = content[start:end].decode("ascii", "replace").split()
        if words and not words[0].startswith("#"):
            header[words[0].upper()] = words[1:]
        start = end + 1
    return header, start


def _row_type(header: dict[str, list[str]]) -> tuple[np.dtype[np.void], int]:
    """Return the type of one row and how many there are."""
    names = header["FIELDS"]
    sizes = [int(size) for size in header["SIZE"]]
    repeats = [int(repeat) for repeat in header.get("COUNT", ["1"] * len(names))]
    if min(repeats, default=0) < 1 or max(repeats) > HEADER_BYTES:
        raise ValueError(f"COUNT {' '.join(header['COUNT'])}")
    kinds = [f"<{KINDS[kind]}{size}" for kind, size in zip(header["TYPE"], sizes, strict=True)]
    names = [f"_{index}" if name == "_" else name for index, name in enumerate(names)]
    rows = list(zip(names, kinds, repeats, strict=True))
    width, height = (int(header.get(key, ["1"])[0]) for key in ("WIDTH", "HEIGHT"))
    count = int(header["POINTS"][0]) if "POINTS" in header else width * height
    if count < 0 or ("WIDTH" in header and width * height != count):
        raise ValueError(f"{width} x {height} is not {count} points")
    return np.dtype([(name, kind) if repeat == 1 else (name, kind, (repeat,)) for name, kind, repeat in rows]), count


def _read_text(body: bytes, where: str, dtype: np.dtype[np.void], count: int) -> dict[str, Array]:
    lines = lines_of(body, where)
    rows = read_rows(lines, where, count=count)
    if next(lines, None) is not None:
        raise MediaError(f"the header says {count} points, more rows follow", where=where)
    widths = [int(np.prod(dtype[name].shape, dtype=int)) for name in dtype.names or ()]
    if sum(widths) != rows.shape[1]:
        raise MediaError(f"the header says {sum(widths)} values a point, rows have {rows.shape[1]}", where=where)
    starts = np.cumsum([0, *widths[:-1]])
    columns = zip(dtype.names or (), starts, strict=True)
    return {name: rows[:, start].astype(dtype[name].base) for name, start in columns}


def _read_binary(content: bytes, where: str, dtype: np.dtype[np.void], place: tuple[int, int]) -> dict[str, Array]:
    start, count = place
    _check_bytes(count, count * dtype.itemsize, len(content) - start, where)
    if content[start + count * dtype.itemsize :].strip(b"\r\n\t \0"):
        raise MediaError(f"the header says {count} points, {len(content) - start} bytes follow", where=where)
    rows = np.frombuffer(content, dtype, count=count, offset=start)
    return {name: rows[name] for name in dtype.names or ()}


def _read_compressed(content: bytes, where: str, dtype: np.dtype[np.void], place: tuple[int, int]) -> dict[str, Array]:
    """Return the columns, which stand one after the other once they are unpacked."""
    start, count = place
    if len(content) < start + 8:
        raise MediaError("the compressed PCD data lacks its two sizes", where=where, hint="was the file cut off?")
    packed, unpacked = struct.unpack_from("<II", content, start)
    _check_bytes(count, packed, len(content) - start - 8, where)
    if unpacked != count * dtype.itemsize:
        raise MediaError(f"{count} points are {count * dtype.itemsize} bytes, not {unpacked}", where=where)
    try:
        body = unpack_lzf(content[start + 8 : start + 8 + packed], unpacked)
    except (ValueError, IndexError) as error:
        raise MediaError(f"the compressed PCD data is damaged: {error}", where=where) from error
    values: dict[str, Array] = {}
    offset = 0
    for name in dtype.names or ():
        part = dtype[name]
        each = int(np.prod(part.shape, dtype=int))
        values[name] = np.frombuffer(body, part.base, count=count * each, offset=offset)[::each]
        offset += count * part.itemsize
    return values


def unpack_lzf(packed: bytes, size: int) -> bytearray:
    """Return `size` bytes that LZF packed; ValueError or IndexError where they are something else."""
    unpacked = bytearray()
    place = 0
    while place < len(packed):
        control = packed[place]
        place += 1
        if control < 32:
            unpacked += packed[place : place + control + 1]
            place += control + 1
        else:
            length = control >> 5
            if length == LONGEST_SHORT:
                length += packed[place]
                place += 1
            back = ((control & 31) << 8) + packed[place] + 1
            place, length = place + 1, length + 2
            if back > len(unpacked):
                raise ValueError("a reference before the beginning")
            start = len(unpacked) - back
            unpacked += (unpacked[start : start + length] * (length // back + 1))[:length]
        if len(unpacked) > size:
            raise ValueError(f"more than {size} bytes")
    if len(unpacked) != size or place != len(packed):
        raise ValueError(f"{len(unpacked)} bytes, not {size}")
    return unpacked


def _check_bytes(count: int, needed: int, there: int, where: str) -> None:
    if needed > there:
        raise MediaError(
            f"the header says {count} points, {needed} bytes; {there} bytes follow",
            where=where,
            hint="was the file cut off?",
        )


def _columns(values: dict[str, Array], where: str) -> Columns:
    if not all(name in values for name in "xyz"):
        raise MediaError(f"the points have no x, y and z, only {', '.join(values) or 'nothing'}", where=where)
    rgb = next((_unpacked_colours(values[name]) for name in ("rgb", "rgba") if name in values), None)
    names = ("normal_x", "normal_y", "normal_z")
    normals = np.stack([values[name] for name in names], axis=1) if all(name in values for name in names) else None
    return Columns(np.stack([values[name] for name in "xyz"], axis=1), rgb, normals)


def _unpacked_colours(packed: Array) -> Array:
    """Return red, green and blue (P, 3), uint8, of 0x00rrggbb, which PCL also writes as the bits of a float32."""
    numbers = packed.astype("<f4").view("<u4") if packed.dtype.kind == "f" else packed.astype("<u4")
    return np.stack([numbers >> shift & 255 for shift in (16, 8, 0)], axis=1).astype(np.uint8)
