"""The medium of point clouds, and the one place where what a source holds is checked and becomes it.

Shape letters: P points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from polyjanus.core.errors import MediaError
from polyjanus.core.files import over_limit

Array = np.ndarray[Any, Any]
FARTHEST = 1e18
"""Metres; squares of anything beyond leave the range of float32."""
PRECISION = 1e-3
"""Steps of float32 may be this part of a cloud's longest side, at most."""


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points in metres, with what is known of each: colour from 0 to 1, normal of about unit length. All float32."""

    xyz: Array
    """Coordinates (P, 3) in metres."""
    rgb: Array | None = None
    """Red, green and blue (P, 3), 0 to 1."""
    normals: Array | None = None
    """Normals (P, 3)."""

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.xyz)


class Columns(NamedTuple):
    """What a file holds, as it stands there: arrays (P, 3) of any number type."""

    xyz: Array
    rgb: Array | None = None
    normals: Array | None = None


def unnamed(values: Array, where: str) -> Columns:
    """Return the meaning of columns without names: xyz; then rgb, or normals where any is negative; or both."""
    if values.ndim != 2 or values.shape[1] not in (3, 6, 9):
        is_turned = values.ndim == 2 and values.shape[0] in (3, 6, 9)
        hint = "turn it: array.T" if is_turned else "columns are x y z, then red green blue or a normal, or both"
        raise MediaError(f"an array of shape {values.shape} is no point cloud (P, 3) or (P, 6)", where=where, hint=hint)
    xyz, more, last = values[:, :3], values[:, 3:6], values[:, 6:]
    if last.shape[1]:
        return Columns(xyz, more, last)
    if not more.shape[1]:
        return Columns(xyz)
    return Columns(xyz, None, more) if bool((more < 0).any()) else Columns(xyz, more)


def make_cloud(columns: Columns, where: str, *, max_points: int) -> PointCloud:
    """Return the cloud of what a source holds; what is no cloud, or is over the limit, is a MediaError."""
    xyz = _checked(columns.xyz, "coordinates", where)
    count = len(xyz)
    if not count:
        raise MediaError("the point cloud holds 0 points", where=where, hint="was the export or the crop empty?")
    check_count(count, where, max_points=max_points)
    _check_precision(xyz, where)
    rgb = None if columns.rgb is None else _colours(_checked(columns.rgb, "colours", where), where)
    normals = None if columns.normals is None else _checked(columns.normals, "normals", where).astype(np.float32)
    for name, found in (("colours", rgb), ("normals", normals)):
        if found is not None and len(found) != count:
            raise MediaError(f"{len(found)} {name} for {count} points", where=where)
    return PointCloud(np.array(xyz, np.float32, order="C"), rgb, normals)


def check_count(count: int, where: str, *, max_points: int) -> None:
    """Refuse more points than the limit."""
    if count > max_points:
        raise MediaError(f"{count} points are more than {max_points}", where=where, hint=over_limit("max_points"))


def _checked(values: Array, name: str, where: str) -> Array:
    """Return an array (P, 3) of finite numbers."""
    values = np.asarray(values)
    if values.ndim != 2 or values.shape[1] != 3 or values.dtype.kind not in "fiu":
        raise MediaError(f"{name} are numbers (P, 3), not {values.dtype} {values.shape}", where=where)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        rows = np.flatnonzero(~np.isfinite(values).all(axis=1))
        raise MediaError(
            f"the {name} of {len(rows)} of {len(values)} points are NaN or infinite, row {rows[0]} for one",
            where=where,
            hint="leave such points out: cloud[np.isfinite(cloud).all(axis=1)]",
        )
    return values


def _check_precision(xyz: Array, where: str) -> None:
    """Refuse coordinates that float32 cannot tell apart, such as metres from a national origin."""
    low, high = xyz.min(axis=0).astype(np.float64), xyz.max(axis=0).astype(np.float64)
    top, side = float(np.abs([low, high]).max()), float((high - low).max())
    if top > FARTHEST:
        raise MediaError(f"a coordinate of {top:.3g} m is beyond {FARTHEST:.0e} m", where=where, hint="is it damaged?")
    step = top * float(np.finfo(np.float32).eps)
    if xyz.dtype != np.float32 and xyz.dtype != np.float16 and step > PRECISION * side > 0:
        raise MediaError(
            f"{top:.4g} m from the origin float32 has steps of {step:.2g} m; this cloud is {side:.2g} m long",
            where=where,
            hint="subtract an origin near the cloud from all points",
        )


def _colours(values: Array, where: str) -> Array:
    """Return colours (P, 3), float32, 0 to 1, of bytes, 16 bits, or floats to 1 or whole numbers to 255."""
    least, most = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if values.dtype == np.uint16:
        scale = 65535.0
    elif values.dtype == np.uint8 or (most > 1 and bool((values == np.floor(values)).all())):
        scale = 255.0
    else:
        scale = 1.0
    if least < 0 or most > scale:
        raise MediaError(
            f"colours run from {least:g} to {most:g}", where=where, hint="floats run from 0 to 1, whole numbers to 255"
        )
    return (values / np.float64(scale)).astype(np.float32)
