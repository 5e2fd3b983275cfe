"""What Open3D writes is read here; skipped where it or its system libraries are missing."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyjanus.core.errors import MediaError
from polyjanus.encoders.point_cloud.media import PointCloudModality


@pytest.fixture(scope="module")
def open3d() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("open3d", exc_type=ImportError)


def cloud_of(open3d: Any, modality: PointCloudModality) -> Any:
    example = modality.example()
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(example.xyz))
    cloud.colors = open3d.utility.Vector3dVector(example.rgb)
    cloud.normals = open3d.utility.Vector3dVector(example.normals)
    return cloud


@pytest.mark.parametrize(
    ("name", "options", "keeps"),
    [
        ("a.ply", {}, "rgb normals"),
        ("text.ply", {"write_ascii": True}, "rgb normals"),
        ("a.pcd", {}, "rgb normals"),
        ("text.pcd", {"write_ascii": True}, "rgb normals"),
        ("packed.pcd", {"compressed": True}, "rgb normals"),
        ("a.xyz", {}, ""),
        ("a.xyzn", {}, "normals"),
        ("a.xyzrgb", {}, "rgb"),
        ("a.pts", {"write_ascii": True}, "rgb"),
    ],
)
def test_clouds_of_open3d_are_read(
    open3d: Any, modality: PointCloudModality, tmp_path: Path, name: str, options: dict[str, bool], keeps: str
) -> None:
    example = modality.example()
    open3d.io.write_point_cloud(str(tmp_path / name), cloud_of(open3d, modality), **options)
    found = modality.load(tmp_path / name)
    np.testing.assert_allclose(found.xyz, example.xyz, atol=1e-6)
    for part, tolerance in (("rgb", 0.5 / 255 + 1e-6), ("normals", 1e-6)):
        if part in keeps:
            np.testing.assert_allclose(getattr(found, part), getattr(example, part), atol=tolerance)
        else:
            assert getattr(found, part) is None


@pytest.mark.parametrize("name", ["a.obj", "a.stl", "a.off", "a.gltf"])
def test_meshes_of_open3d_are_read(open3d: Any, modality: PointCloudModality, tmp_path: Path, name: str) -> None:
    mesh = open3d.geometry.TriangleMesh.create_torus(0.7, 0.2)
    mesh.compute_triangle_normals()
    with open3d.utility.VerbosityContextManager(open3d.utility.VerbosityLevel.Error):
        open3d.io.write_triangle_mesh(str(tmp_path / name), mesh)
    xyz = modality.load(tmp_path / name).xyz
    around = np.linalg.norm(xyz[:, :2], axis=1) - 0.7
    np.testing.assert_allclose(np.hypot(around, xyz[:, 2]), 0.2, atol=0.01)


def test_objects_of_open3d_are_taken_without_a_type(open3d: Any, modality: PointCloudModality) -> None:
    cloud, example = cloud_of(open3d, modality), modality.example()
    assert modality.accepts(cloud)
    found = modality.load(cloud)
    np.testing.assert_array_equal(found.xyz, example.xyz)
    np.testing.assert_array_equal(found.rgb, example.rgb)
    assert len(modality.load(open3d.geometry.TriangleMesh.create_box())) == 8192


@pytest.mark.parametrize("content", ["{}", "junk", '{"asset": {"version": "2.0"}, "buffers": [{"uri": "gone.bin"}]}'])
def test_what_open3d_reads_nothing_from_is_refused(
    open3d: Any, modality: PointCloudModality, tmp_path: Path, content: str
) -> None:
    (tmp_path / "a.gltf").write_text(content, encoding="utf-8")
    with pytest.raises(MediaError, match="no triangles"):
        modality.load(tmp_path / "a.gltf")
