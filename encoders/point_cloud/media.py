"""Point clouds as arrays in metres: loading with limits, saving, showing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from polyjanus.core.errors import MediaError
from polyjanus.core.files import check_size, find_file, guess_content, name_of, read_file
from polyjanus.encoders.point_cloud.cloud import Columns, check_count, make_cloud, unnamed
from polyjanus.encoders.point_cloud.cloud import PointCloud as PointCloud
from polyjanus.encoders.point_cloud.glb import read_glb
from polyjanus.encoders.point_cloud.meshes import Mesh, read_obj, read_off, read_stl, sample_mesh
from polyjanus.encoders.point_cloud.opened import read_with_open3d
from polyjanus.encoders.point_cloud.pcd import read_pcd
from polyjanus.encoders.point_cloud.pictures import draw
from polyjanus.encoders.point_cloud.ply import read_ply, write_ply
from polyjanus.encoders.point_cloud.tables import (
    read_archive,
    read_array_file,
    read_pts,
    read_xyz,
    write_archive,
    write_xyz,
)
from polyjanus.encoders.shared.grids import GridModality

if TYPE_CHECKING:
    from polyjanus.encoders.shared.cells import GridPreparation

WRITERS: dict[str, Callable[[PointCloud, Path], None]] = {
    ".ply": write_ply,
    ".npz": write_archive,
    ".xyz": write_xyz,
}
BEGINNINGS = (
    (b"ply\n", ".ply"),
    (b"ply\r", ".ply"),
    (b"\x93NUMPY", ".npy"),
    (b"PK\x03\x04", ".npz"),
    (b"PK\x05\x06", ".npz"),
    (b"# .PCD", ".pcd"),
    (b"VERSION", ".pcd"),
    (b"glTF", ".glb"),
    (b"OFF", ".off"),
    (b"COFF", ".off"),
)
"""What content says of itself goes before the name of its file."""
READERS: dict[str, Callable[[bytes, str], Columns]] = {".ply": read_ply, ".pts": read_pts}
READERS |= dict.fromkeys((".xyz", ".xyzn", ".xyzrgb"), read_xyz)
BOUNDED: dict[str, Callable[..., Columns]] = {".npy": read_array_file, ".npz": read_archive, ".pcd": read_pcd}
"""Formats that can become larger than their file; they are told how large."""
MESHES: dict[str, Callable[[bytes, str], Mesh]] = {".obj": read_obj, ".stl": read_stl, ".off": read_off}
MESHES |= {".glb": read_glb}
WITH_OPEN3D = (".gltf",)
ALWAYS_BEGIN = (".ply", ".npy", ".npz", ".glb")
"""Formats that nothing else can be, whatever its name; the others may begin with a comment."""


class PointCloudModality(GridModality[PointCloud, Any]):
    """Sets of points in metres; the medium is a PointCloud. The settings are a PointCloudConfig."""

    keys: ClassVar[tuple[str, ...]] = ("point_cloud", "path")
    suffixes: ClassVar[tuple[str, ...]] = (
        *WRITERS,
        *(suffix for suffix in (*READERS, *BOUNDED, *MESHES, *WITH_OPEN3D) if suffix not in WRITERS),
    )
    medium: ClassVar[type | None] = PointCloud

    def load(self, source: Any, start: float | None = None, duration: float | None = None) -> PointCloud:
        """Return the cloud in a path, in bytes, in an array (P, 3), (P, 6) or (P, 9), or in an object that has points.

        Columns after the third are red, green, blue (0 to 1, or whole numbers to 255), or a normal where any is
        negative. From a mesh `sample_points` are drawn, always the same. Units are metres; nothing is scaled or moved.
        """
        where = name_of(source, self.name)
        if start is not None or duration is not None:
            raise MediaError("a point cloud has no 'start' and no 'duration'", where=where, hint="leave them out")
        try:
            columns = self._columns(source, where)
            return make_cloud(columns, where, max_points=self.settings.max_points)
        except MediaError:
            raise
        except Exception as error:  # whatever a damaged file makes of a reader
            raise MediaError(
                f"the point cloud is damaged: {type(error).__name__}: {str(error)[:160]}",
                where=where,
                hint="make or fetch it anew",
            ) from error

    def save(self, media: PointCloud, path: Path) -> None:
        """Write PLY (binary; colours of 8 bits), NPZ (every value as it is) or XYZ text, as the suffix says."""
        write = WRITERS.get(path.suffix.lower())
        if write is None:
            raise MediaError(
                f"cannot write point clouds of suffix {path.suffix!r}",
                where=str(path),
                hint=f"use one of {', '.join(WRITERS)}",
            )
        write(media, path)

    def preview(self, media: PointCloud) -> bytes:
        """Return a PNG of the cloud from three directions, in its colours or coloured by height; z is up."""
        return draw(media)

    def example(self) -> PointCloud:
        """Return a ring 1 m across of 400 points, with colours and normals; always the same."""
        noise = np.random.default_rng(0).random((400, 2)) * 2 * np.pi
        around, across = noise[:, 0], noise[:, 1]
        outward = np.stack([np.cos(around), np.sin(around), np.zeros_like(around)], axis=1)
        normals = outward * np.cos(across)[:, None] + np.array([0.0, 0.0, 1.0]) * np.sin(across)[:, None]
        rgb = 0.5 + 0.5 * np.cos(around[:, None] - np.array([0.0, 2.1, 4.2]))
        return PointCloud(
            (0.35 * outward + 0.15 * normals).astype(np.float32), rgb.astype(np.float32), normals.astype(np.float32)
        )

    def examples(self) -> tuple[PointCloud, ...]:
        """Return the example, and five points of it without colours."""
        whole = self.example()
        return whole, PointCloud(whole.xyz[:5])

    def noise(self, media: PointCloud, generator: np.random.Generator) -> PointCloud:
        """Return as many points that say nothing: a normal cloud of equal middle and spread, its colours drawn anew.

        What falls out of the box that holds the cloud is moved to its sides.
        """
        count = (len(media), 3)
        drawn = generator.normal(media.xyz.mean(axis=0), media.xyz.std(axis=0), count)
        xyz = drawn.clip(media.xyz.min(axis=0), media.xyz.max(axis=0)).astype(np.float32)
        rgb = None if media.rgb is None else generator.random(count, dtype=np.float32)
        if media.normals is None:
            return PointCloud(xyz, rgb)
        directions = generator.normal(size=count)
        normals = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        return PointCloud(xyz, rgb, normals.astype(np.float32))

    def grid(self, *, size: int | None = None, channels: int | None = None, resize: str = "crop") -> GridPreparation:
        """Return the way to cells, `size` a side seen from above; their layers are those of the settings."""
        from polyjanus.encoders.point_cloud.pillars import PillarPreparation

        box = self.settings.pillars
        return PillarPreparation(box.cube(), box.height, box.layers, size or 32, box.points)

    def accepts(self, source: Any) -> bool:
        """Tell whether an object is a PointCloud, ours or Open3D's."""
        return super().accepts(source) or (type(source).__module__.startswith("open3d.") and hasattr(source, "points"))

    def _columns(self, source: Any, where: str) -> Columns:
        if isinstance(source, PointCloud):
            return Columns(source.xyz, source.rgb, source.normals)
        if isinstance(source, str | Path):
            return self._from_path(source, where)
        if isinstance(source, bytes | bytearray | memoryview):
            return self._from_bytes(bytes(source), "", where)
        if hasattr(source, "vertices") or hasattr(source, "points"):
            return self._from_object(source, where)
        if hasattr(source, "__array__"):
            return unnamed(np.asarray(source), where)
        raise MediaError(
            f"a {type(source).__name__} is no point cloud",
            where=where,
            hint="give a path, bytes, a PointCloud or an array (P, 3) in metres",
        )

    def _from_path(self, source: str | Path, where: str) -> Columns:
        suffix = Path(source).suffix.lower()
        if suffix in WITH_OPEN3D:
            path = find_file(source, max_bytes=self.settings.max_bytes, noun="point cloud")
            return self._sampled(read_with_open3d(path, where), where)
        content = read_file(source, max_bytes=self.settings.max_bytes, noun="point cloud")
        return self._from_bytes(content, suffix, where)

    def _from_bytes(self, content: bytes, suffix: str, where: str) -> Columns:
        check_size(len(content), max_bytes=self.settings.max_bytes, where=where, noun="point cloud")
        found = next((known for start, known in BEGINNINGS if content.startswith(start)), None)
        is_web_page = b"<html" in content[:200].lower()
        if is_web_page or (found is None and (suffix in ALWAYS_BEGIN or suffix not in self.suffixes)):
            name = f"no {suffix[1:].upper()} file" if suffix in self.suffixes else "no point cloud that is known"
            raise MediaError(
                f"this is {name}: it begins with {content[:12]!r}",
                where=where,
                hint=guess_content(content, f"known are {', '.join(self.suffixes)}"),
            )
        suffix = found or suffix
        if suffix in MESHES:
            return self._sampled(MESHES[suffix](content, where), where)
        if suffix in BOUNDED:
            return BOUNDED[suffix](content, where, max_bytes=self.settings.max_bytes)
        return READERS[suffix](content, where)

    def _from_object(self, source: Any, where: str) -> Columns:
        """Return the points of an object as Open3D and trimesh make them; of a mesh, points of its surface."""
        triangles = getattr(source, "faces", getattr(source, "triangles", None))
        points = np.asarray(getattr(source, "vertices", None) if hasattr(source, "vertices") else source.points)
        if triangles is not None:
            return self._sampled(Mesh(points, np.asarray(triangles)), where)
        found = {name: np.asarray(getattr(source, name, ())) for name in ("colors", "normals")}
        known = {name: value[:, :3] for name, value in found.items() if value.ndim == 2 and len(value)}
        return Columns(points, known.get("colors"), known.get("normals"))

    def _sampled(self, mesh: Mesh, where: str) -> Columns:
        check_count(len(mesh.vertices), where, max_points=self.settings.max_points)
        count = min(self.settings.sample_points, self.settings.max_points)
        return sample_mesh(mesh, count, self.settings.seed, where)
