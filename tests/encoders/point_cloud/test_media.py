"""Point clouds: what is loaded, what is refused, and what the refusal says."""

import io
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from polyjanus.core.errors import MediaError
from polyjanus.encoders.point_cloud.media import PointCloud, PointCloudModality

Limited = Callable[..., PointCloudModality]
Files = dict[str, bytes]
NAN = np.array([[0, 0, 0], [np.nan, 0, 0], [1, 1, 1], [0, np.inf, 0]], dtype=np.float32)


def written(folder: Path, files: Files) -> dict[str, Path]:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in files}


def refused(modality: PointCloudModality, source: Any) -> MediaError:
    with pytest.raises(MediaError) as caught:
        modality.load(source)
    return caught.value


# what is loaded


def test_every_format_of_points_holds_the_same_cloud(
    modality: PointCloudModality, points_by_suffix: Files, cloud: PointCloud, tmp_path: Path
) -> None:
    for name, path in written(tmp_path, points_by_suffix).items():
        found = modality.load(path)
        assert found.rgb is not None and cloud.rgb is not None, name
        assert found.xyz.dtype == found.rgb.dtype == np.float32, name
        np.testing.assert_array_equal(found.xyz, cloud.xyz, err_msg=name)
        np.testing.assert_allclose(found.rgb, cloud.rgb, atol=1e-6, err_msg=name)


def test_what_begins_with_its_format_is_read_from_bytes_and_under_a_wrong_name(
    modality: PointCloudModality, points_by_suffix: Files, cloud: PointCloud, tmp_path: Path
) -> None:
    for name, content in points_by_suffix.items():
        if not name.endswith((".xyz", ".pts")):
            np.testing.assert_array_equal(modality.load(content).xyz, cloud.xyz, err_msg=name)
    wrong = tmp_path / "it is no text.xyz"
    wrong.write_bytes(points_by_suffix["binary.pcd"])
    np.testing.assert_array_equal(modality.load(wrong).xyz, cloud.xyz)


@pytest.mark.parametrize(("form", "before"), [("ascii", b"7\n"), ("binary_little_endian", b"\x07\0\0\0")])
def test_what_stands_before_the_vertices_of_a_ply_file_is_passed_over(
    modality: PointCloudModality, form: str, before: bytes
) -> None:
    rows = b"1 2 3\n" if form == "ascii" else np.array([1, 2, 3], "<f4").tobytes()
    whole = ply_text(1, "", form).replace(b"element vertex", b"element camera 1\nproperty int id\nelement vertex")
    assert modality.load(whole + before + rows).xyz.tolist() == [[1, 2, 3]]


def test_arrays_and_objects_hold_the_same_cloud(modality: PointCloudModality, cloud: PointCloud) -> None:
    assert cloud.rgb is not None
    both = np.concatenate([cloud.xyz, cloud.rgb], axis=1)
    for source in (both, both.astype(np.float64), torch.from_numpy(both), cloud):
        found = modality.load(source)
        assert found.rgb is not None and found.normals is None
        np.testing.assert_array_equal(found.xyz, cloud.xyz)
        np.testing.assert_array_equal(found.rgb, cloud.rgb)
    assert modality.load(cloud.xyz).rgb is None


def test_the_array_of_a_caller_is_not_shared(modality: PointCloudModality) -> None:
    source = np.zeros((3, 3), np.float32)
    modality.load(source).xyz[0] = 1
    assert not source.any()


def test_columns_after_the_third_are_normals_where_any_is_negative(modality: PointCloudModality) -> None:
    found = modality.load(np.array([[0, 0, 0, 0, 0, -1.0], [1, 1, 1, 0, 1, 0]]))
    assert found.rgb is None and found.normals is not None
    assert found.normals.tolist() == [[0, 0, -1], [0, 1, 0]]
    nine = modality.load(np.ones((2, 9)))
    assert nine.rgb is not None and nine.normals is not None


@pytest.mark.parametrize("scale", [np.uint8(255), np.uint16(65535), np.float64(1), np.float64(255)])
def test_colours_of_any_scale_run_from_zero_to_one(modality: PointCloudModality, scale: Any) -> None:
    rgb = (np.array([[0, 0, 0], [1, 1, 1]]) * scale).astype(scale.dtype)
    found = modality.load(PointCloud(np.zeros((2, 3)), rgb)).rgb
    assert found is not None and found.tolist() == [[0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("count", [1, 2])
def test_one_and_two_points_are_a_cloud(modality: PointCloudModality, count: int) -> None:
    assert len(modality.load(np.ones((count, 3)))) == count
    assert modality.preview(modality.load(np.ones((count, 3)))).startswith(b"\x89PNG")


# meshes


def test_every_mesh_is_sampled_over_its_whole_surface(
    modality: PointCloudModality, meshes_by_suffix: Files, tmp_path: Path
) -> None:
    for name, path in written(tmp_path, meshes_by_suffix).items():
        found = modality.load(path)
        assert len(found) == 8192 and found.normals is not None
        xyz = found.xyz - ([10, 0, 0] if name == "a.glb" else [0, 0, 0])
        on_side = np.isclose(xyz, 0, atol=1e-5) | np.isclose(xyz, [1, 2, 3], atol=1e-5)
        assert on_side.any(axis=1).all(), name
        shares = on_side.mean(axis=0)  # of the three pairs of sides: 6, 3 and 2 of 11 square metres
        np.testing.assert_allclose(shares, np.array([6, 3, 2]) / 11, atol=0.02, err_msg=name)
        np.testing.assert_allclose(np.abs(found.normals).max(axis=1), 1, atol=1e-5)


def test_sampling_is_a_function_of_the_seed(with_limits: Limited, meshes_by_suffix: Files, tmp_path: Path) -> None:
    path = written(tmp_path, meshes_by_suffix)["a.off"]
    first, again, other = (with_limits(sample_points=20, seed=seed).load(path).xyz for seed in (0, 0, 1))
    assert first.shape == (20, 3)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_an_object_with_faces_is_a_mesh(modality: PointCloudModality) -> None:
    class Mesh:
        vertices = np.eye(3)
        faces = np.array([[0, 1, 2]])

    np.testing.assert_allclose(modality.load(Mesh()).xyz.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n", "no triangles"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "vertex 8 of 3"),
        ("a.obj", b"v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n", "no area"),
        ("a.obj", b"v 0 0 0\nv 1 nan 0\nv 0 1 0\nf 1 2 3\n", "NaN"),
        ("a.obj", b"v 0 0 0\nv 1 x 0\nv 0 1 0\nf 1 2 3\n", "three numbers"),
        ("a.obj", b"v 0 0 0\nf 1 2\n", "fewer than 3 corners"),
        ("a.off", b"OFF\n8 6 0\n0 0 0\n", "8 vertices and 6 faces; there are 1 and 0"),
        ("a.off", b"OFF\n1000000000 6 0\n0 0 0\n", "1000000000 vertices"),
        ("a.off", b"off we go\n", "no whole number"),
        ("a.stl", b"solid x\nfacet\n", "endsolid"),
        ("a.stl", b"\0" * 80 + b"\xff\xff\xff\x7f" + b"\0" * 50, "2147483647 triangles"),
        ("a.glb", b"glTF" + b"\0" * 40, "version 0"),
        ("a.gltf", b"", "empty"),
    ],
)
def test_a_mesh_that_lies_is_refused(
    modality: PointCloudModality, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert says in str(refused(modality, tmp_path / name))


def test_meshes_over_the_limit_are_refused(with_limits: Limited, meshes_by_suffix: Files, tmp_path: Path) -> None:
    path = written(tmp_path, meshes_by_suffix)["a.obj"]
    assert "8 points are more than 7" in refused(with_limits(max_points=7), path).message


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ImportError("No module named 'open3d'"), 'pip install "polyjanus[point-cloud]"'),
        (ImportError("libusb-1.0.so.0: cannot open shared object file"), "apt-get install libegl1 libgl1"),
        (OSError("libX11.so.6: cannot open shared object file"), "apt-get install libegl1 libgl1"),
    ],
)
def test_what_open3d_lacks_is_said(
    modality: PointCloudModality, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    class Refuses:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "open3d":
                raise error

    monkeypatch.delitem(sys.modules, "open3d", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refuses(), *sys.meta_path])
    (tmp_path / "a.gltf").write_text("{}", encoding="utf-8")
    assert says in str(refused(modality, tmp_path / "a.gltf").hint)


# faults (D3)


def ply_text(count: int, rows: str, form: str = "ascii") -> bytes:
    names = "\n".join(f"property float {name}" for name in "xyz")
    return f"ply\nformat {form} 1.0\nelement vertex {count}\n{names}\nend_header\n{rows}".encode()


FAULTS: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.ply", b"", "0 bytes"),
    "junk": ("a.ply", bytes(range(256)) * 4, "no PLY file"),
    "web page": ("a.ply", b"<!DOCTYPE html><html>404</html>", "web page"),
    "web page as text": ("a.xyz", b"<html>404</html>", "web page"),
    "lfs pointer": ("a.ply", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "no points": ("a.ply", ply_text(0, ""), "0 points"),
    "no rows of text": ("a.xyz", b"# nothing\n", "0 points"),
    "nan": ("a.ply", ply_text(2, "0 0 0\nnan 0 0\n"), "1 of 2 points are NaN or infinite, row 1"),
    "infinite": ("a.xyz", b"0 0 0\n0 inf 0\n", "NaN or infinite"),
    "beyond float32": ("a.xyz", b"0 0 0\n0 1e300 0\n", "beyond 1e+18 m"),
    "a claim of 1e9 in text": ("a.ply", ply_text(10**9, "0 0 0\n" * 10), "1000000000 points, 10 rows follow"),
    "a claim of 1e9 in binary": ("a.ply", ply_text(10**9, "0" * 120, "binary_little_endian"), "120 bytes follow"),
    "a claim beyond 64 bits": ("a.ply", ply_text(10**40, "0 0 0\n"), "damaged"),
    "fewer claimed than there": ("a.ply", ply_text(1, "0 0 0\n1 1 1\n"), "1 follow"),
    "fewer claimed in binary": ("a.ply", ply_text(1, "0" * 24, "binary_little_endian"), "24 bytes follow"),
    "text under a binary header": ("a.ply", ply_text(3, "0 0 0\n1 1 1\n2 2 2\n", "binary_big_endian"), "36 bytes; 18"),
    "binary under a text header": ("a.ply", ply_text(2, "") + b"\xff\xfe\x00\x80" * 6, "should be text"),
    "ragged rows": ("a.ply", ply_text(2, "0 0 0\n1 1\n"), "rows of numbers"),
    "decimal commas": ("a.xyz", b"0,5 0,5 0,5\n", "decimals by a point"),
    "no header's end": ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 1\n", "end_header"),
    "unknown format": ("a.ply", ply_text(1, "0 0 0\n", "ebcdic"), "damaged"),
    "no coordinates": ("a.ply", ply_text(1, "0 0 0\n").replace(b"float x", b"float u"), "no x, y and z"),
    "a name twice": ("a.ply", ply_text(1, "0 0 0\n").replace(b"float y", b"float x"), "damaged"),
    "two columns": ("a.xyz", b"0 0\n1 1\n", "(2, 2)"),
    "pts without a count": ("a.pts", b"0 0 0\n", "number of points"),
    "pts cut off": ("a.pts", b"3\n0 0 0\n", "3 points, 1 rows"),
    "pcd cut off in its header": ("a.pcd", b"# .PCD v0.7\nFIELDS x y z\n", "DATA"),
    "pcd that counts wrong": ("a.pcd", b"VERSION 0.7\nFIELDS x\nSIZE 4 4\nTYPE F\nDATA ascii\n", "damaged"),
    "an array of objects": ("a.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False,", "NumPy"),
    "unknown suffix": ("a.las", b"LASF", "known are .ply"),
    "no suffix": ("cloud", b"0 0 0\n", "known are .ply"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_lies_is_refused_with_what_was_found(
    modality: PointCloudModality, tmp_path: Path, fault: str
) -> None:
    name, content, says = FAULTS[fault]
    (tmp_path / name).write_bytes(content)
    start = time.monotonic()
    error = refused(modality, tmp_path / name)
    assert says in str(error)
    assert error.where is not None and error.where.startswith(str(tmp_path / name))
    assert time.monotonic() - start < 2


def test_a_file_cut_off_anywhere_is_refused(
    modality: PointCloudModality, points_by_suffix: Files, meshes_by_suffix: Files, tmp_path: Path
) -> None:
    for name, content in {**points_by_suffix, **meshes_by_suffix}.items():
        if name.endswith((".xyz", ".obj")):
            continue  # text that says nothing of its length
        for part in (0.1, 0.5, 0.9):
            (tmp_path / name).write_bytes(content[: int(len(content) * part)])
            refused(modality, tmp_path / name)


def test_mutated_files_give_a_cloud_or_a_media_error(
    modality: PointCloudModality, points_by_suffix: Files, meshes_by_suffix: Files, tmp_path: Path
) -> None:
    random = np.random.default_rng(1)
    for name, whole in {**points_by_suffix, **meshes_by_suffix}.items():
        for _ in range(12):
            broken = bytearray(whole)
            for place in random.integers(0, len(whole), random.integers(1, 9)):
                broken[place] = random.integers(0, 256)
            if random.random() < 0.3:
                del broken[slice(*sorted(random.integers(0, len(broken), 2)))]
            (tmp_path / name).write_bytes(broken)
            try:
                found = modality.load(tmp_path / name)
            except MediaError:
                continue
            assert np.isfinite(found.xyz).all() and len(found)


def test_points_over_the_limit_are_refused_before_they_become_a_cloud(
    with_limits: Limited, points_by_suffix: Files
) -> None:
    error = refused(with_limits(max_points=49), points_by_suffix["ascii.ply"])
    assert error.message == "50 points are more than 49" and "max_points" in str(error.hint)


def test_a_file_over_the_limit_is_not_read(with_limits: Limited, points_by_suffix: Files, tmp_path: Path) -> None:
    path = written(tmp_path, points_by_suffix)["a.npy"]
    assert "max_bytes" in str(refused(with_limits(max_bytes=100), path).hint)
    assert "max_bytes" in str(refused(with_limits(max_bytes=100), path.read_bytes()).hint)


def test_compressed_points_that_unpack_to_more_than_the_limit_are_refused(
    with_limits: Limited, points_by_suffix: Files
) -> None:
    packed = points_by_suffix["binary_compressed.pcd"].replace(b"COUNT 1 1 1 1", b"COUNT 1 1 1 9999")
    assert "max_bytes" in str(refused(with_limits(max_bytes=2000), packed).hint)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (NAN, "2 of 4 points are NaN or infinite, row 1 for one"),
        (np.zeros((0, 3)), "0 points"),
        (np.zeros((3, 500)), "array.T"),
        (np.zeros((4, 4)), "(4, 4)"),
        (np.zeros(3), "(3,)"),
        (np.full((2, 3), "a"), "numbers"),
        (np.array([[0, 0, 0, 2.5, 0, 0]]), "colours run from 0 to 2.5"),
        (PointCloud(np.zeros((2, 3)), np.zeros((3, 3))), "3 colours for 2 points"),
        (PointCloud(np.zeros((2, 3)), None, np.full((2, 3), np.nan)), "the normals of 2 of 2"),
        (np.array([[4.5e5, 5.4e6, 0], [4.5e5 + 3, 5.4e6, 0]]), "subtract an origin"),
        (object(), "a object is no point cloud"),
        ("https://example.org/a.ply", "download"),
        ("nowhere.ply", "does not exist"),
        ("a\0b.ply", "does not exist"),
    ],
)
def test_what_is_no_cloud_is_refused(modality: PointCloudModality, source: Any, says: str) -> None:
    assert says in str(refused(modality, source))


def test_all_points_in_one_place_are_a_cloud_however_far_away(modality: PointCloudModality) -> None:
    assert len(modality.load(np.full((5, 3), 5.4e6))) == 5


def test_a_cloud_has_no_start_and_no_duration(modality: PointCloudModality) -> None:
    with pytest.raises(MediaError, match="no 'start'"):
        modality.load(np.zeros((1, 3)), start=0.0)
    with pytest.raises(MediaError, match="no 'duration'"):
        modality.load(np.zeros((1, 3)), duration=1.0)


# what is written and shown


@pytest.mark.parametrize(
    ("suffix", "tolerance"), [(".ply", 0.5 / 255 + 1e-6), (".npz", 0), (".xyz", 1e-8), (".PLY", 1)]
)
def test_what_is_saved_comes_back(modality: PointCloudModality, tmp_path: Path, suffix: str, tolerance: float) -> None:
    example = modality.example()
    path = tmp_path / f"a{suffix}"
    modality.save(example, path)
    found = modality.load(path)
    np.testing.assert_array_equal(found.xyz, example.xyz)
    assert found.rgb is not None and np.abs(found.rgb - example.rgb).max() <= tolerance
    if suffix != ".xyz":
        np.testing.assert_array_equal(found.normals, example.normals)


def test_a_suffix_that_is_not_written_names_those_that_are(modality: PointCloudModality, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"use one of \.ply, \.npz, \.xyz"):
        modality.save(modality.example(), tmp_path / "a.pcd")


@pytest.mark.parametrize("has_colours", [True, False])
def test_a_preview_shows_colours_or_heights(modality: PointCloudModality, has_colours: bool) -> None:
    example = modality.example()
    shown = Image.open(io.BytesIO(modality.preview(example if has_colours else PointCloud(example.xyz))))
    assert shown.format == "PNG"
    pixels = np.asarray(shown).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 1000
    assert 0.05 < (pixels.min(axis=1) < 240).mean() < 0.6


def test_what_is_near_covers_what_is_far(modality: PointCloudModality) -> None:
    grid = np.stack([*np.mgrid[-1:1:40j, -1:1:40j].reshape(2, -1), np.zeros(1600)], axis=1)
    xyz = np.concatenate([grid + [0, 0, 1], grid])  # a red sheet above a blue one
    rgb = np.repeat([[1.0, 0, 0], [0, 0, 1.0]], 1600, axis=0)
    shown = np.asarray(Image.open(io.BytesIO(modality.preview(modality.load(PointCloud(xyz, rgb))))))
    red, _, blue = shown[180, 900]
    assert red > 100 > blue


def test_a_medium_passes_a_process_boundary(modality: PointCloudModality, cloud: PointCloud) -> None:
    packed = modality.pack(cloud)
    again = modality.unpack(packed)
    assert again.normals is None
    np.testing.assert_array_equal(again.xyz, cloud.xyz)


def test_only_clouds_are_taken_without_a_type(modality: PointCloudModality, cloud: PointCloud) -> None:
    assert modality.accepts(cloud)
    assert not modality.accepts(cloud.xyz)
    assert not modality.accepts("a.ply")


def test_importing_the_settings_loads_neither_torch_nor_open3d() -> None:
    code = "import sys, polyjanus.encoders.point_cloud; print({'torch', 'open3d', 'numpy', 'PIL'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_loading_points_loads_neither_torch_nor_open3d(points_by_suffix: Files, tmp_path: Path) -> None:
    path = written(tmp_path, points_by_suffix)["binary_little_endian.ply"]
    code = (
        "import sys; from polyjanus.core.context import BuildContext;"
        "from polyjanus.encoders.point_cloud import PointCloudConfig;"
        "PointCloudConfig(type='point_cloud').build(BuildContext(path='p')).load(sys.argv[1]);"
        "print({'torch', 'open3d'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
