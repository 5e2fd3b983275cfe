"""What the tests of point clouds share: the modality, and the same cloud and mesh written in every format."""

import io
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from polyjanus.core.settings import BuildContext
from polyjanus.encoders.point_cloud import PointCloudConfig
from polyjanus.encoders.point_cloud.media import PointCloud, PointCloudModality

CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 2) for z in (0, 3)], dtype=np.float32)
"""Of a box of 1 x 2 x 3 metres."""
SQUARES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
TRIANGLES = np.array([[a, b, c] for s in SQUARES for a, b, c in ((s[0], s[1], s[2]), (s[0], s[2], s[3]))])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def modality() -> PointCloudModality:
    return PointCloudConfig(type="point_cloud").build(BuildContext(path="point_cloud"))


@pytest.fixture(scope="session")
def with_limits() -> Callable[..., PointCloudModality]:
    return lambda **limits: PointCloudConfig(type="point_cloud", **limits).build(BuildContext(path="point_cloud"))


def ply(xyz: Any, form: str, *, rgb: Any = None, count: int | None = None, faces: bool = False) -> bytes:
    """Return a PLY file written by nobody's library; `count` is what its header claims."""
    names = [f"property float {name}" for name in "xyz"]
    names += [] if rgb is None else [f"property uchar {name}" for name in ("red", "green", "blue")]
    header = ["ply", f"format {form} 1.0", "comment made by a test"]
    header += [f"element vertex {len(xyz) if count is None else count}", *names]
    header += ["element face 2", "property list uchar int vertex_indices"] if faces else []
    order = ">" if "big" in form else "<"
    rows, tail = [], b""
    for index, point in enumerate(xyz):
        colour = [] if rgb is None else list(rgb[index])
        if form == "ascii":
            rows.append((" ".join([*(repr(float(v)) for v in point), *map(str, colour)]) + "\n").encode())
        else:
            rows.append(struct.pack(f"{order}3f{len(colour)}B", *point, *colour))
    if faces:
        tail = b"3 0 1 2\n4 0 1 2 3\n" if form == "ascii" else struct.pack(f"{order}B3iB4i", 3, 0, 1, 2, 4, 0, 1, 2, 3)
    return "\n".join([*header, "end_header", ""]).encode() + b"".join(rows) + tail


def pcd(xyz: np.ndarray, form: str, rgb: np.ndarray) -> bytes:
    """Return a PCD file with packed colours; compressed data is a run of literals, which is LZF too."""
    packed = (rgb.astype(np.uint32) << np.array([16, 8, 0], dtype=np.uint32)).sum(axis=1).astype(np.uint32)
    count = len(xyz)
    header = ["# .PCD v0.7", "VERSION 0.7", "FIELDS x y z rgb", "SIZE 4 4 4 4", "TYPE F F F U", "COUNT 1 1 1 1"]
    header += [f"WIDTH {count}", "HEIGHT 1", "VIEWPOINT 0 0 0 1 0 0 0", f"POINTS {count}", f"DATA {form}", ""]
    if form == "ascii":
        lines = [f"{x:.9g} {y:.9g} {z:.9g} {c}" for (x, y, z), c in zip(xyz, packed, strict=True)]
        body = "\n".join([*lines, ""]).encode()
    elif form == "binary":
        body = b"".join(struct.pack("<3fI", *point, colour) for point, colour in zip(xyz, packed, strict=True))
    else:
        plain = b"".join(xyz[:, i].astype("<f4").tobytes() for i in range(3)) + packed.astype("<u4").tobytes()
        runs = [plain[i : i + 32] for i in range(0, len(plain), 32)]
        lzf = b"".join(bytes([len(run) - 1]) + run for run in runs)
        body = struct.pack("<II", len(lzf), len(plain)) + lzf
    return "\n".join(header).encode() + body


def npy(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    return stream.getvalue()


def npz(**values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **values)
    return stream.getvalue()


def glb(**changes: Any) -> bytes:
    """Return the box as a GLB file, its node moved by (10, 0, 0)."""
    vertices, numbers = CORNERS.tobytes(), TRIANGLES.astype("<u2").tobytes()
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"children": [1], "translation": [10, 0, 0]}, {"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 8, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 36, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteLength": len(vertices)},
            {"buffer": 0, "byteOffset": len(vertices), "byteLength": len(numbers)},
        ],
        "buffers": [{"byteLength": len(vertices) + len(numbers)}],
        **changes,
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text
    body += struct.pack("<I4s", len(vertices + numbers), b"BIN\0") + vertices + numbers
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def stl() -> bytes:
    rows = [struct.pack("<12fH", 0, 0, 0, *CORNERS[triangle].ravel(), 0) for triangle in TRIANGLES]
    return b"written by a test".ljust(80) + struct.pack("<I", len(rows)) + b"".join(rows)


def obj() -> bytes:
    lines = [f"v {x} {y} {z}" for x, y, z in CORNERS] + ["vn 0 0 1", "usemtl none"]
    lines += [f"f {a + 1}//1 {b + 1}//1 {c - 8}//1 {d + 1}" for a, b, c, d in SQUARES]
    return "\n".join(["# a box", *lines, ""]).encode()


def off(first: str = "OFF\n") -> bytes:
    lines = [f"{x} {y} {z}" for x, y, z in CORNERS] + ["4 " + " ".join(map(str, square)) for square in SQUARES]
    return (f"{first}8 6 0\n" + "\n".join([*lines, ""])).encode()


@pytest.fixture(scope="session")
def cloud() -> PointCloud:
    """Return 50 points in general position, with colours of whole bytes."""
    random = np.random.default_rng(7)
    rgb = random.integers(0, 256, (50, 3), dtype=np.uint8)
    return PointCloud(random.normal(size=(50, 3)).astype(np.float32), (rgb / 255).astype(np.float32))


@pytest.fixture(scope="session")
def points_by_suffix(cloud: PointCloud) -> dict[str, bytes]:
    """Return the cloud in every format of points, by a name whose suffix says it."""
    assert cloud.rgb is not None
    rgb = np.rint(cloud.rgb * 255).astype(np.uint8)
    rows = [[*map(repr, map(float, point)), *map(str, colour)] for point, colour in zip(cloud.xyz, rgb, strict=True)]
    files = {f"{form}.ply": ply(cloud.xyz, form, rgb=rgb) for form in ("ascii", "binary_little_endian")}
    files |= {"binary_big_endian.ply": ply(cloud.xyz, "binary_big_endian", rgb=rgb)}
    files |= {"faces.ply": ply(cloud.xyz, "binary_little_endian", rgb=rgb, faces=True)}
    files |= {"faces_text.ply": ply(cloud.xyz, "ascii", rgb=rgb, faces=True)}
    files |= {f"{form}.pcd": pcd(cloud.xyz, form, rgb) for form in ("ascii", "binary", "binary_compressed")}
    files |= {"a.xyz": "\n".join(["# x y z r g b", *map(" ".join, rows)]).encode()}
    files |= {"a.pts": "\n".join(["50", *(" ".join([*row[:3], "17", *row[3:]]) for row in rows)]).encode()}
    files |= {"a.npy": npy(np.concatenate([cloud.xyz, cloud.rgb], axis=1))}
    files |= {"a.npz": npz(xyz=cloud.xyz, rgb=rgb), "b.npz": npz(points=cloud.xyz, colors=cloud.rgb)}
    return files


@pytest.fixture(scope="session")
def meshes_by_suffix() -> dict[str, bytes]:
    """Return the box in every format of meshes that is read here."""
    text = ["solid box"]
    for triangle in TRIANGLES:
        text += ["facet normal 0 0 0", "outer loop", *(f"vertex {x} {y} {z}" for x, y, z in CORNERS[triangle])]
        text += ["endloop", "endfacet"]
    ascii_stl = "\n".join([*text, "endsolid box", ""]).encode()
    return {
        "a.obj": obj(),
        "a.stl": stl(),
        "text.stl": ascii_stl,
        "a.off": off(),
        "modelnet.off": off("OFF"),
        "a.glb": glb(),
    }
