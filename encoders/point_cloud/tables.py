"""Points as rows of numbers: XYZ and PTS text, NPY and NPZ arrays."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from polyjanus.core.errors import MediaError
from polyjanus.encoders.point_cloud.cloud import Array, Columns, PointCloud, unnamed
from polyjanus.encoders.shared.arrays import read_npy, read_npz

NAMES = {
    "xyz": ("xyz", "points", "positions", "pos", "vertices", "arr_0"),
    "rgb": ("rgb", "colors", "colours", "color"),
    "normals": ("normals", "normal"),
}
"""Names of arrays in an NPZ file; the first of each is what is written."""
INTENSITY = 3
"""The column of PTS files between coordinates and colours."""


def lines_of(content: bytes, where: str) -> Iterator[str]:
    """Return the lines of text that are not blank; what is no text is a MediaError."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MediaError(
            f"this should be text, but byte {error.start} is {content[error.start]:#04x}",
            where=where,
            hint="is it binary data under a wrong name or header?",
        ) from error
    return (line for line in io.StringIO(text) if line.strip())


def read_rows(lines: Iterator[str], where: str, *, count: int | None = None, comments: str | None = None) -> Array:
    """Return numbers (P, C), float64, of lines of equally many; with `count`, of so many lines exactly."""
    chosen = lines if count is None else islice(lines, count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no rows at all
        try:
            values = np.loadtxt(chosen, dtype=np.float64, ndmin=2, comments=comments)
        except ValueError as error:
            raise MediaError(
                f"rows of numbers were expected: {str(error)[:160]}",
                where=where,
                hint="columns are separated by spaces, decimals by a point",
            ) from error
    found = len(values) if values.size else 0
    if count is not None and found != count:
        raise MediaError(
            f"the header says {count} points, {found} rows follow", where=where, hint="was the file cut off?"
        )
    return values if found else np.zeros((0, 3))


def read_xyz(content: bytes, where: str) -> Columns:
    """Return the points of text: x y z, then red green blue or a normal, or both; `#` begins a comment."""
    return unnamed(read_rows(lines_of(content, where), where, comments="#"), where)


def read_pts(content: bytes, where: str) -> Columns:
    """Return the points of PTS text: how many there are, then x y z, intensity, red green blue."""
    lines = lines_of(content, where)
    first = next(lines, "").split()
    if len(first) != 1 or not first[0].isdecimal() or len(first[0]) > 18:
        raise MediaError(f"a PTS file begins with the number of points, not {' '.join(first)[:40]!r}", where=where)
    rows = read_rows(lines, where, count=int(first[0]))
    if next(lines, None) is not None:
        raise MediaError(f"the header says {first[0]} points, more rows follow", where=where)
    if rows.shape[1] in (INTENSITY + 1, INTENSITY + 4):
        rows = np.delete(rows, INTENSITY, axis=1)
    return unnamed(rows, where)


def read_array_file(content: bytes, where: str, *, max_bytes: int) -> Columns:
    """Return the points of an NPY file: an array (P, 3), (P, 6) or (P, 9)."""
    return unnamed(read_npy(content, where, max_bytes=max_bytes), where)


def read_archive(content: bytes, where: str, *, max_bytes: int) -> Columns:
    """Return the points of an NPZ file: `xyz`, and `rgb` and `normals` where it has them."""
    arrays = read_npz(content, where, max_bytes=max_bytes)
    found = {ours: _first(arrays, names) for ours, names in NAMES.items()}
    xyz = found.pop("xyz")
    if xyz is None:
        raise MediaError(f"no array 'xyz' among {', '.join(sorted(arrays)[:8]) or 'none'}", where=where)
    if found["rgb"] is None and found["normals"] is None:
        return unnamed(xyz, where)
    return Columns(xyz, **found)


def write_xyz(cloud: PointCloud, path: Path) -> None:
    """Write text: x y z, and red green blue (0 to 1) where there are colours; normals are left out."""
    values = cloud.xyz if cloud.rgb is None else np.concatenate([cloud.xyz, cloud.rgb], axis=1)
    np.savetxt(path, values, fmt="%.9g")


def write_archive(cloud: PointCloud, path: Path) -> None:
    """Write an NPZ file with every value as it is."""
    known = {"xyz": cloud.xyz, "rgb": cloud.rgb, "normals": cloud.normals}
    with path.open("wb") as file:
        np.savez(file, **{name: value for name, value in known.items() if value is not None})


def _first(arrays: dict[str, Array], names: Sequence[str]) -> Array | None:
    return next((arrays[name] for name in names if name in arrays), None)
