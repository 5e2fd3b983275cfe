"""Points in space: an order that does not depend on how they came, Morton numbers, and the cube that codecs describe.

Shape letters: P points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from polyjanus.core.errors import MediaError
from polyjanus.encoders.point_cloud.cloud import Array

SLACK = 1e-6
"""Part of the cube by which rounding may put a point outside."""


def in_order(values: Array) -> Array:
    """Return the rows (P, C) sorted by their columns, the first before the others: the same for any shuffle."""
    return values[np.lexsort(values.T[::-1])]


def drawn(rows: Array, count: int) -> Array:
    """Return at most `count` rows, drawn without replacement, always the same, in their order."""
    if len(rows) <= count:
        return rows
    return rows[np.sort(np.random.default_rng(0).permutation(len(rows))[:count])]


def farthest_points(xyz: Array, count: int, first: int) -> Array:
    """Return the numbers (count,) of points, each the farthest from those before it (arXiv 1706.02413, section 3.2).

    Of equally far points the one that comes first is taken; once every place is taken, points come again.
    """
    columns = np.ascontiguousarray(xyz.T, dtype=np.float32)  # (3, P), over which NumPy is eight times faster
    offsets, squares = np.empty_like(columns), np.empty(len(xyz), dtype=np.float32)
    distances = np.full(len(xyz), np.inf, dtype=np.float32)
    chosen = np.empty(count, dtype=np.int64)
    for place in range(count):
        chosen[place] = first
        np.subtract(columns, columns[:, first, None], out=offsets)
        np.multiply(offsets, offsets, out=offsets)
        np.add(offsets[0], offsets[1], out=squares)
        np.add(squares, offsets[2], out=squares)
        np.minimum(distances, squares, out=distances)
        first = int(distances.argmax())
    return chosen


def farthest_from_centre(xyz: Array) -> int:
    """Return the number of the point farthest from the mean; of equally far ones the first."""
    offsets = xyz - xyz.mean(axis=0)
    return int(np.einsum("pc,pc->p", offsets, offsets).argmax())


def morton(cells: Array, bits: int) -> Array:
    """Return numbers (P,), int64, of cells (P, 3) from 0 to 2^bits - 1: their bits interleaved, so near ones are near.

    Cells that are near each other mostly have near numbers (G. M. Morton, 1966).
    """
    cells = cells.astype(np.int64)
    codes = np.zeros(len(cells), dtype=np.int64)
    for bit in range(bits):
        for axis in range(3):
            codes |= (cells[:, axis] >> bit & 1) << (3 * bit + axis)
    return codes


def cells_of(codes: Array, bits: int) -> Array:
    """Return the cells (P, 3) of Morton numbers (P,)."""
    cells = np.zeros((len(codes), 3), dtype=np.int64)
    for bit in range(bits):
        for axis in range(3):
            cells[:, axis] |= (codes >> (3 * bit + axis) & 1) << bit
    return cells


@dataclass(frozen=True)
class Cube:
    """A cube of space around the origin."""

    extent: float
    """Metres a side."""
    normalise: bool = True
    """Whether clouds are moved and scaled to fill it."""

    def inside(self, xyz: Array) -> Array:
        """Return points (P, 3), float64, from -1 to 1, of points in metres; outside the cube is a MediaError."""
        xyz = xyz.astype(np.float64)
        if self.normalise:
            low, high = xyz.min(axis=0), xyz.max(axis=0)
            side = float((high - low).max())
            return (xyz - (low + high) / 2) * (2 / side if side else 0.0)
        values = xyz * (2 / self.extent)
        outside = np.abs(values).max(axis=1) > 1 + SLACK
        if outside.any():
            raise MediaError(
                f"{int(outside.sum())} of {len(xyz)} points are outside the codec's cube of {self.extent:g} m, as far"
                f" as {float(np.abs(xyz).max()):.3g} m from its middle",
                hint="raise 'extent' of the codec, move the cloud to the origin, or set 'normalise: true'",
            )
        return values.clip(-1, 1)

    def metres(self, values: Array) -> Array:
        """Return points (P, 3), float32, in metres, of values from -1 to 1."""
        return (values.astype(np.float64) * (self.extent / 2)).astype(np.float32)

    def cells(self, xyz: Array, bits: int) -> Array:
        """Return the cells (P, 3), int64, from 0 to 2^bits - 1, of points in metres.

        A cloud that fills the cube has its lowest points in the middle of cells 0, and its longest side ends in the
        middle of the last cell: so the middles of its cells, read again, have the same cells.
        """
        last = 2**bits - 1
        if not self.normalise:
            return ((self.inside(xyz) + 1) / 2 * (last + 1)).astype(np.int64).clip(0, last)
        xyz = xyz.astype(np.float64)
        low = xyz.min(axis=0)
        side = float((xyz.max(axis=0) - low).max())
        return np.floor((xyz - low) * (last / side if side else 0.0) + 0.5).astype(np.int64).clip(0, last)

    def middles(self, cells: Array, bits: int) -> Array:
        """Return the middles (P, 3), float32, in metres, of cells (P, 3)."""
        if not self.normalise:
            return self.metres((cells + 0.5) / 2 ** (bits - 1) - 1)
        centred = cells - (cells.min(axis=0) + cells.max(axis=0)) / 2
        return self.metres(centred * (2 / (2**bits - 1)))
