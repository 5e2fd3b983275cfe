"""Judges: what is told apart is known, and a ranking is as good as the pairs that it puts in order."""

import numpy as np
import pytest

from polyjanus.core.judging import KernelClassifier, distances, ranking


def test_a_classifier_knows_clouds_that_lie_apart() -> None:
    noise = np.random.default_rng(0)
    labels = np.arange(90) % 3
    vectors = np.eye(3)[labels] * 4 + noise.normal(size=(90, 3))
    fitted = KernelClassifier(vectors[:60], labels[:60], gamma=0.3, ridge=0.1)
    assert (fitted.predict(vectors[60:]) == labels[60:]).mean() > 0.9


def test_distances_are_those_of_the_definition() -> None:
    noise = np.random.default_rng(0)
    left, right = noise.normal(size=(4, 3)), noise.normal(size=(5, 3))
    assert np.allclose(distances(left, right), np.linalg.norm(left[:, None] - right, axis=2))


@pytest.mark.parametrize(
    ("scores", "area"), [([0.1, 0.2, 0.8, 0.9], 1.0), ([0.9, 0.8, 0.2, 0.1], 0.0), ([0.5, 0.5, 0.5, 0.5], 0.5)]
)
def test_the_area_is_the_share_of_pairs_in_order(scores: list[float], area: float) -> None:
    assert ranking(np.array(scores), np.array([False, False, True, True])) == area


def test_where_all_are_right_there_is_nothing_to_rank() -> None:
    assert np.isnan(ranking(np.array([0.1, 0.2]), np.array([True, True])))
