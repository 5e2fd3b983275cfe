"""Made-up point clouds of solids, named in words: something to try a pipeline on before there are scans."""

from __future__ import annotations

from typing import Any

import numpy as np

from polyjanus.core.data.rows import Row, Source
from polyjanus.encoders.point_cloud.cloud import Array, PointCloud
from polyjanus.encoders.point_cloud.meshes import Mesh, sample_mesh

NAMES = ("ball", "box", "bowl", "cone", "cylinder", "hourglass", "pyramid", "ring")
QUESTIONS = ("What is this?", "Which shape do you see?", "Name this shape.")
REQUESTS = ("Make a {}.", "Build a {}.", "Show me a {}.")
ROUND = 32
"""Sides of what is round."""
NOISE = 0.005
"""Standard deviation of the points around the surface, in metres."""


class ShapeRows(Source):
    """Questions about shapes, or requests for them, with their answers; no shape is ever the same again."""

    def __init__(self, task: str, rows: int, points: int) -> None:
        self.task, self.rows, self.points = task, rows, points

    def __len__(self) -> int:
        """Return the number of rows, which take the shapes in turn."""
        return self.rows

    def row(self, index: int, noise: np.random.Generator) -> Row:
        """Return one conversation about a shape; its sizes are those of its number, its points come from `noise`."""
        name = NAMES[index % len(NAMES)]
        cloud = make_shape(name, np.random.default_rng([index, 0]), noise, self.points)
        part: dict[str, Any] = {"type": "point_cloud", "point_cloud": cloud}
        if self.task == "name":
            asked: list[Any] = [part, QUESTIONS[noise.integers(len(QUESTIONS))]]
            answer: list[Any] = [name]
        else:
            asked = [REQUESTS[noise.integers(len(REQUESTS))].format(name)]
            answer = [part]
        return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}


def make_shape(name: str, sizes: np.random.Generator, noise: np.random.Generator, points: int) -> PointCloud:
    """Return points on the surface of a solid of about a metre, turned around the vertical, standing upright (z)."""
    columns = sample_mesh(_mesh(name, sizes), points, int(noise.integers(2**31)), name)
    angle = noise.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    xyz = (columns.xyz + noise.normal(0, NOISE, (points, 3))) @ turn.T
    normals = columns.normals @ turn.T if columns.normals is not None else None
    return PointCloud(xyz.astype(np.float32), None, None if normals is None else normals.astype(np.float32))


def _mesh(name: str, sizes: np.random.Generator) -> Mesh:
    radius, height = sizes.uniform(0.35, 0.6), sizes.uniform(0.7, 1.2)
    low, high = -height / 2, height / 2
    around = np.linspace(0, np.pi, ROUND + 1)
    if name == "ball":
        return _revolved(radius * np.sin(around), -radius * np.cos(around))
    if name == "bowl":
        half = around[: ROUND // 2 + 1]
        return _revolved(radius * np.sin(half), -radius * np.cos(half))
    if name == "ring":
        thick = radius * sizes.uniform(0.25, 0.4)
        return _revolved(radius + thick * np.cos(2 * around), thick * np.sin(2 * around))
    profiles = {
        "box": ([0, radius, radius, 0], [low, low, high, high]),
        "cylinder": ([0, radius, radius, 0], [low, low, high, high]),
        "cone": ([0, radius, 0], [low, low, high]),
        "pyramid": ([0, radius, 0], [low, low, high]),
        "hourglass": ([0, radius, 0, radius, 0], [low, low, 0, high, high]),
    }
    return _revolved(*map(np.array, profiles[name]), sides=4 if name in ("box", "pyramid") else ROUND)


def _revolved(radii: Array, heights: Array, sides: int = ROUND) -> Mesh:
    """Return the surface that a line of radii and heights leaves when it is turned around the vertical."""
    angles = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rings = [np.concatenate([circle * r, np.full((sides, 1), z)], axis=1) for r, z in zip(radii, heights, strict=True)]
    here = np.arange(sides)
    there = (here + 1) % sides
    triangles = [
        np.stack(corners, axis=1) + step * sides
        for step in range(len(rings) - 1)
        for corners in ((here, there, there + sides), (here, there + sides, here + sides))
    ]
    return Mesh(np.concatenate(rings), np.concatenate(triangles))
