"""Clouds in the process that decodes users' files."""

from pathlib import Path

import numpy as np
import pytest

from polyjanus.core.decoding.decoder import Decoder
from polyjanus.core.errors import MediaError
from polyjanus.encoders.point_cloud.media import PointCloud, PointCloudModality


def test_a_cloud_passes_the_process_with_and_without_colours(modality: PointCloudModality, tmp_path: Path) -> None:
    decoder = Decoder({"point_cloud": modality})
    example = modality.example()
    for cloud in (example, PointCloud(example.xyz), PointCloud(example.xyz, example.rgb)):
        modality.save(cloud, tmp_path / "a.npz")
        found = decoder.load("point_cloud", tmp_path / "a.npz")
        for part in ("xyz", "rgb", "normals"):
            np.testing.assert_array_equal(getattr(found, part), getattr(cloud, part))
    (tmp_path / "a.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 3\nend_header\n")
    with pytest.raises(MediaError, match="3 points, 0 rows"):
        decoder.load("point_cloud", tmp_path / "a.ply")
