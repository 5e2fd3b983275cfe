"""Clouds as grids: cells that count points, and clouds of what is rebuilt."""

import numpy as np
import pytest
import torch

from polyjanus.core.errors import MediaError
from polyjanus.encoders.point_cloud.media import PointCloud
from polyjanus.encoders.point_cloud.pillars import TYPICAL, PillarPreparation
from polyjanus.encoders.point_cloud.places import Cube

BOX = PillarPreparation(Cube(2.0, normalise=False), height=0.5, layers=4, side=8, points=64)


def cloud(*points: tuple[float, float, float]) -> PointCloud:
    return PointCloud(np.array(points, np.float32))


def test_a_point_counts_in_the_cell_where_it_lies_with_y_upwards() -> None:
    cells = BOX.cells(cloud((0.9, 0.9, 0.4)))
    assert cells.shape == BOX.shape == (4, 8, 8)
    assert cells[3, 0, 7] == TYPICAL and cells.sum() == TYPICAL
    assert BOX.cells(cloud((-0.9, -0.9, -0.4)))[0, 7, 0] == TYPICAL


def test_clouds_of_any_number_of_points_weigh_the_same() -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (700, 3)).astype(np.float32)
    assert BOX.cells(PointCloud(noise)).sum() == pytest.approx(TYPICAL)


def test_what_lies_above_the_layers_counts_in_the_highest() -> None:
    assert BOX.cells(cloud((0.1, 0.1, 0.99)))[3].sum() == TYPICAL


def test_points_outside_the_box_are_refused() -> None:
    with pytest.raises(MediaError, match="outside the codec's cube"):
        BOX.cells(cloud((1.5, 0, 0)))


def test_a_cloud_of_logits_has_its_points_where_they_are_high() -> None:
    cells = BOX.cells(cloud((0.6, -0.3, 0.2), (-0.6, 0.3, -0.2)))
    found = BOX.media(torch.log(cells + 1e-9)[None])[0]
    assert len(found) == 64
    assert torch.equal(BOX.cells(found), cells)


def test_the_difference_is_zero_where_the_shares_are_equal_and_else_above() -> None:
    cells = BOX.cells(PointCloud(np.random.default_rng(1).uniform(-0.4, 0.4, (300, 3)).astype(np.float32)))[None]
    exact = BOX.difference(torch.log(cells + 1e-12) + 3.0, cells)
    assert exact.item() == pytest.approx(0, abs=1e-4)
    assert BOX.difference(torch.zeros_like(cells), cells).item() > 0.5


def test_values_rise_from_nothing_to_two_with_the_points_of_a_cell() -> None:
    values = BOX.normalise(torch.tensor([0.0, 1.0, 3.0, 1e6]))
    assert values.tolist() == pytest.approx([0.0, 1.0, 1.5, 2.0], abs=1e-5)
