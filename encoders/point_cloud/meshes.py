"""Meshes (OBJ, STL, OFF) and points drawn from their surface, as many per area everywhere.

Shape letters: V vertices, F triangles, P points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from polyjanus.core.errors import MediaError
from polyjanus.encoders.point_cloud.cloud import Array, Columns
from polyjanus.encoders.point_cloud.tables import lines_of

STL_ROW = np.dtype([("normal", "<f4", (3,)), ("corners", "<f4", (3, 3)), ("attributes", "<u2")])
STL_HEADER = 84
"""Bytes before the first triangle; the last four of them say how many there are."""


class Mesh(NamedTuple):
    """Vertices (V, 3), triangles (F, 3) that number them from zero, and colours (V, 3) or None."""

    vertices: Array
    triangles: Array
    rgb: Array | None = None


def sample_mesh(mesh: Mesh, count: int, seed: int, where: str) -> Columns:
    """Return points drawn uniformly from the surface, with the normals of the triangles that they lie in."""
    vertices, triangles = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.triangles)
    if not len(triangles):
        raise MediaError(f"the mesh has {len(vertices)} vertices and no triangles to draw points from", where=where)
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise MediaError(
            f"a triangle names vertex {int(triangles.max())} of {len(vertices)}, counted from 0", where=where
        )
    corners = vertices[triangles]
    if not np.isfinite(corners).all() or np.abs(corners).max() > np.finfo(np.float32).max:
        raise MediaError("the mesh has vertices that are NaN or infinite", where=where)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(across, axis=1)
    total = areas.sum()
    if not 0 < total < np.inf:
        raise MediaError("the triangles of the mesh have no area", where=where)
    random = np.random.default_rng(seed)
    chosen = np.searchsorted(np.cumsum(areas) / total, random.random(count), side="right").clip(max=len(areas) - 1)
    chosen = np.where(areas[chosen] > 0, chosen, int(areas.argmax()))
    root, along = np.sqrt(random.random(count)), random.random(count)
    weights = np.stack([1 - root, root * (1 - along), root * along], axis=1)
    points = np.einsum("pc,pcd->pd", weights, corners[chosen])
    normals = across[chosen] / areas[chosen, None]
    if mesh.rgb is None:
        return Columns(points, None, normals)
    return Columns(points, np.einsum("pc,pcd->pd", weights, mesh.rgb[triangles[chosen]]), normals)


def read_obj(content: bytes, where: str) -> Mesh:
    """Return the vertices and faces of an OBJ file; faces of many corners become fans, materials are left out."""
    vertices: list[Sequence[str]] = []
    triangles: list[tuple[int, int, int]] = []
    for line in lines_of(content, where):
        words = line.split()
        if words[0] == "v":
            vertices.append(words[1:])
        elif words[0] == "f":
            corners = [_whole(word.split("/")[0], line, where) for word in words[1:]]
            triangles += _fan([corner - 1 if corner > 0 else len(vertices) + corner for corner in corners], line, where)
    widths = {len(words) for words in vertices}
    if not widths <= {3, 4, 6, 7}:
        raise MediaError(f"an OBJ vertex has {sorted(widths - {3, 4, 6, 7})[0]} numbers, not 3", where=where)
    rows = _numbers([words[:3] for words in vertices], where)
    rgb = _numbers([words[3:6] for words in vertices], where) if widths == {6} else None
    return Mesh(rows, np.array(triangles, np.int64).reshape(-1, 3), rgb)


def read_stl(content: bytes, where: str) -> Mesh:
    """Return the triangles of an STL file, binary or text."""
    count = int.from_bytes(content[STL_HEADER - 4 : STL_HEADER], "little")
    if len(content) == STL_HEADER + count * STL_ROW.itemsize and count:
        corners = np.frombuffer(content, STL_ROW, offset=STL_HEADER)["corners"].reshape(-1, 3)
    elif content.lstrip()[:5].lower() == b"solid" and b"\0" not in content:
        lines = [line.split() for line in lines_of(content, where)]
        if lines[-1][0].lower() != "endsolid":
            raise MediaError("the STL text has no 'endsolid' at its end", where=where, hint="was the file cut off?")
        corners = _numbers([words[1:] for words in lines if words[0].lower() == "vertex"], where)
    else:
        raise MediaError(
            f"the STL header says {count} triangles, {STL_HEADER + count * STL_ROW.itemsize} bytes;"
            f" the file has {len(content)}",
            where=where,
            hint="was the file cut off?",
        )
    if len(corners) % 3:
        raise MediaError(f"{len(corners)} corners are no whole triangles", where=where)
    return Mesh(corners, np.arange(len(corners)).reshape(-1, 3))


def read_off(content: bytes, where: str) -> Mesh:
    """Return the vertices and faces of an OFF file; colours are left out."""
    lines = (words for line in lines_of(content, where) if (words := line.split("#")[0].split()))
    _, name, rest = " ".join(next(lines, [])).upper().partition("OFF")
    sizes = rest.split() or next(lines, [])  # ModelNet writes both in one line
    counts = [_whole(word, " ".join(sizes), where) for word in sizes[:2]]
    if not name or len(counts) < 2 or min(counts) < 0:
        raise MediaError("an OFF file begins with the numbers of vertices and faces", where=where)
    vertices = [words[:3] for words in _first(lines, counts[0])]
    triangles: list[tuple[int, int, int]] = []
    found = 0
    for words in _first(lines, counts[1]):
        size = _whole(words[0], " ".join(words), where)
        corners = [_whole(word, " ".join(words), where) for word in words[1 : size + 1]]
        if len(corners) == size:
            triangles += _fan(corners, " ".join(words), where)
            found += 1
    if [len(vertices), found] != counts:
        raise MediaError(
            f"the header says {counts[0]} vertices and {counts[1]} faces; there are {len(vertices)} and {found}",
            where=where,
            hint="was the file cut off?",
        )
    return Mesh(_numbers(vertices, where), np.array(triangles, np.int64).reshape(-1, 3))


def _first(lines: Iterator[list[str]], count: int) -> Iterator[list[str]]:
    """Yield so many entries, and take none beyond them."""
    for _ in range(count):
        words = next(lines, None)
        if words is None:
            return
        yield words


def _fan(corners: Sequence[int], line: str, where: str) -> list[tuple[int, int, int]]:
    if len(corners) < 3:
        raise MediaError(f"a face has fewer than 3 corners: {line.strip()[:60]!r}", where=where)
    return [(corners[0], corners[i], corners[i + 1]) for i in range(1, len(corners) - 1)]


def _whole(word: str, line: str, where: str) -> int:
    try:
        return int(word)
    except ValueError as error:
        raise MediaError(f"{word[:20]!r} is no whole number, in {line.strip()[:60]!r}", where=where) from error


def _numbers(rows: Sequence[Sequence[str]], where: str) -> Array:
    """Return numbers (V, 3), float64."""
    try:
        return np.array(rows, dtype=np.float64).reshape(len(rows), 3)
    except ValueError as error:
        raise MediaError(f"vertices are three numbers each: {str(error)[:120]}", where=where) from error
