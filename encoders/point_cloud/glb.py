"""GLB files (glTF 2.0 in one file): the triangles of the scene, every node where it stands.

Source: Khronos glTF 2.0 specification, sections 3.5 to 3.7 and 4.4. Metres, y up; materials and colours are left out.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from polyjanus.core.errors import MediaError
from polyjanus.encoders.point_cloud.cloud import Array
from polyjanus.encoders.point_cloud.meshes import Mesh

TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC3": 3}
TRIANGLES = 4
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
Json = Mapping[str, Any]


def read_glb(content: bytes, where: str) -> Mesh:
    """Return all triangles of the scene of a GLB file; what it does not hold itself is a MediaError."""
    document, binary = _read_chunks(content, where)
    required = document.get("extensionsRequired")
    if required:
        raise MediaError(
            f"this GLB file needs {', '.join(map(str, required))[:80]}, which is not read",
            where=where,
            hint="export it without compression",
        )
    try:
        parts = [_placed(document, binary, node, matrix) for node, matrix in _nodes(document)]
    except MediaError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MediaError(f"the GLB file is damaged: {type(error).__name__} {str(error)[:100]}", where=where) from error
    meshes = [mesh for part in parts for mesh in part]
    if not meshes:
        raise MediaError("the scene of this GLB file has no triangles", where=where)
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    triangles = [mesh.triangles + start for mesh, start in zip(meshes, starts, strict=True)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(triangles))


def _read_chunks(content: bytes, where: str) -> tuple[Json, bytes]:
    """Return the JSON of a file and its binary data."""
    version, length = struct.unpack_from("<II", content, 4) if len(content) >= 20 else (0, 0)
    if version != 2 or length != len(content):
        raise MediaError(
            f"the GLB header says version {version}, {length} bytes; the file has {len(content)}",
            where=where,
            hint="version 2 is read; was the file cut off?",
        )
    chunks: dict[int, bytes] = {}
    place = 12
    while place + 8 <= length:
        size, kind = struct.unpack_from("<II", content, place)
        if size > length - place - 8:
            raise MediaError(f"a GLB chunk says {size} bytes, {length - place - 8} follow", where=where)
        chunks.setdefault(kind, content[place + 8 : place + 8 + size])
        place += 8 + size
    try:
        document = json.loads(chunks[JSON_CHUNK])
    except (KeyError, ValueError, RecursionError) as error:
        raise MediaError("the GLB file has no readable JSON chunk", where=where) from error
    if not isinstance(document, dict):
        raise MediaError("the JSON of the GLB file is no object", where=where)
    return document, chunks.get(BINARY_CHUNK, b"")


def _nodes(document: Json) -> list[tuple[Json, Array]]:
    """Return every node of the scene with its matrix (4, 4); a node with two parents is a ValueError."""
    nodes = document["nodes"]
    scenes = document.get("scenes")
    roots = scenes[document.get("scene", 0)].get("nodes", []) if scenes else range(len(nodes))
    waiting = [(index, np.eye(4)) for index in roots]
    seen: set[int] = set()
    found: list[tuple[Json, Array]] = []
    while waiting:
        index, outer = waiting.pop()
        if index in seen and scenes:
            raise ValueError(f"node {index} stands twice in the scene")
        seen.add(index)
        matrix = outer @ _matrix(nodes[index])
        found.append((nodes[index], matrix))
        if scenes:
            waiting += [(child, matrix) for child in nodes[index].get("children", [])]
    return found


def _matrix(node: Json) -> Array:
    """Return the matrix (4, 4) of one node within its parent."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = (float(value) for value in node.get("rotation", (0, 0, 0, 1)))
    turned = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = turned * np.array(node.get("scale", (1, 1, 1)), np.float64).reshape(3)
    matrix[:3, 3] = np.array(node.get("translation", (0, 0, 0)), np.float64)
    return matrix


def _placed(document: Json, binary: bytes, node: Json, matrix: Array) -> list[Mesh]:
    """Return the triangles of one node, moved to where it stands."""
    if "mesh" not in node:
        return []
    meshes: list[Mesh] = []
    for primitive in document["meshes"][node["mesh"]]["primitives"]:
        if primitive.get("mode", TRIANGLES) != TRIANGLES:
            continue
        vertices = _accessor(document, binary, primitive["attributes"]["POSITION"]).astype(np.float64)
        if "indices" in primitive:
            numbers = _accessor(document, binary, primitive["indices"]).astype(np.int64)
        else:
            numbers = np.arange(len(vertices))
        if numbers.max(initial=0) >= len(vertices):  # before the meshes are joined, where it would name another's
            raise ValueError(f"a triangle names vertex {numbers.max()} of {len(vertices)}")
        meshes.append(Mesh(vertices @ matrix[:3, :3].T + matrix[:3, 3], numbers.reshape(-1, 3)))
    return meshes


def _accessor(document: Json, binary: bytes, index: int) -> Array:
    """Return the values of an accessor, (n, 3) or (n,); outside the binary data is a ValueError."""
    accessor = document["accessors"][index]
    if "sparse" in accessor or "bufferView" not in accessor:
        raise ValueError("sparse accessors are not read")
    view = document["bufferViews"][accessor["bufferView"]]
    if "uri" in document["buffers"][view["buffer"]]:
        raise ValueError("its data is in another file")
    dtype, width = np.dtype(TYPES[accessor["componentType"]]), WIDTHS[accessor["type"]]
    step, count = view.get("byteStride") or dtype.itemsize * width, int(accessor["count"])
    offset, start = int(accessor.get("byteOffset", 0)), int(view.get("byteOffset", 0))
    length = int(view["byteLength"])
    needed = offset + (count - 1) * step + dtype.itemsize * width
    if min(count - 1, offset, start, step - 1) < 0 or needed > length or start + length > len(binary):
        raise ValueError(f"{count} values need {start + needed} bytes, there are {min(start + length, len(binary))}")
    shape, steps = ((count, 3), (step, dtype.itemsize)) if width > 1 else ((count,), (step,))
    return np.ndarray(shape, dtype, binary, start + offset, steps)
