"""Handwriting as solids: each digit extruded to a mesh, points drawn from its surface, then sized, tilted and turned.

Coordinates are metres: x to the right, y up the page, z out of it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from polyjanus.encoders.point_cloud.media import PointCloud
from polyjanus.encoders.point_cloud.meshes import Mesh, sample_mesh
from polyjanus.examples.quintet.bending import Bend
from polyjanus.examples.quintet.pictures import handwriting, strokes
from polyjanus.examples.quintet.words import Attributes

Array = np.ndarray[Any, Any]
SIDE, THRESHOLD, THICKNESS = 48, 0.42, 0.3
"""Cells of the outline, ink that is solid, and metres from front to back of a digit in a square of two metres."""
POINTS = 1024
SIZE = {"large": (0.95, 1.08), "small": (0.66, 0.76)}
TILT = {"left": (16.0, 34.0), "right": (-34.0, -16.0), "level": (-5.0, 5.0)}
YAW, PITCH, NOISE, KEPT = 16.0, 8.0, (0.008, 0.02), (448, 640)
"""Degrees about y and x, at most; metres of noise; points of a cloud."""
DOWN = np.array([1, -1])
"""From y up to y down the page, and back."""


@cache
def surface(number: int) -> Array:
    """Return points (1024, 3), float32, of the surface of a handwriting as a solid two metres a side."""
    solid = strokes(handwriting()[0][number], SIDE) > THRESHOLD
    return sample_mesh(_mesh(solid), POINTS, number, f"digit {number}").xyz.astype(np.float32)


def _mesh(solid: Array) -> Mesh:
    """Return the mesh of the cells that are solid, extruded: front, back and walls."""
    padded = np.pad(solid, 1)
    row, column = (axis - 1 for axis in np.nonzero(padded))
    steps = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])  # the corners of a cell, around it
    cells = np.stack([row, column], axis=1)[:, None] + steps
    quads = [np.concatenate([cells, np.full((*cells.shape[:2], 1), side)], axis=2) for side in (0, 1)]
    for edge, (down, right) in enumerate(((-1, 0), (0, 1), (1, 0), (0, -1))):
        is_open = ~padded[row + 1 + down, column + 1 + right]
        ends = cells[is_open][:, [edge, (edge + 1) % 4]]
        front, back = (np.concatenate([ends, np.full((*ends.shape[:2], 1), side)], axis=2) for side in (0, 1))
        quads.append(np.concatenate([front, back[:, ::-1]], axis=1))
    corners = np.concatenate(quads).astype(np.float64)
    y, x, z = np.moveaxis(corners, 2, 0)
    placed = np.stack([x / SIDE * 2 - 1, 1 - y / SIDE * 2, (z - 0.5) * THICKNESS], axis=2)
    first = np.arange(len(placed))[:, None] * 4
    triangles = np.concatenate([first + [0, 1, 2], first + [0, 2, 3]])
    return Mesh(placed.reshape(-1, 3), triangles)


def cloud(number: int, attributes: Attributes, noise: np.random.Generator, bend: Bend | None = None) -> PointCloud:
    """Return a cloud of a handwriting with a size and a tilt; all else comes from `noise`."""
    points = surface(number)
    count = int(noise.integers(*KEPT))
    kept = points[noise.permutation(len(points))[:count]].astype(np.float64)
    if bend is not None:
        kept[:, :2] = bend.forward(kept[:, :2] * DOWN) * DOWN
    yaw, pitch = noise.uniform(-1, 1, 2) * (YAW, PITCH)
    turned = kept @ (_turn(2, noise.uniform(*TILT[attributes["tilt"]])) @ _turn(1, yaw) @ _turn(0, pitch)).T
    xyz = turned * noise.uniform(*SIZE[attributes["size"]]) + noise.normal(0, noise.uniform(*NOISE), turned.shape)
    return PointCloud(xyz.astype(np.float32))


def _turn(axis: int, degrees: float) -> Array:
    angle = np.deg2rad(degrees)
    matrix = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first] = np.sin(angle)
    matrix[first, second] = -matrix[second, first]
    return matrix
