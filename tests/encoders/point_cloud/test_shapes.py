"""Made-up shapes and who judges them."""

from typing import Any

import numpy as np
import pytest

from polyjanus.core.settings import BuildContext
from polyjanus.encoders.point_cloud import ShapesConfig, ShapesMadeConfig, ShapesNamedConfig
from polyjanus.encoders.point_cloud.judges import judge, unseen
from polyjanus.encoders.point_cloud.media import PointCloud, PointCloudModality
from polyjanus.encoders.point_cloud.shapes import NAMES, make_shape

CONTEXT = BuildContext(path="data.x")


def row(task: str, index: int, seed: int) -> Any:
    return ShapesConfig(type="shapes", task=task, points=64).build(CONTEXT).row(index, np.random.default_rng(seed))


def cloud_of(found: Any) -> PointCloud:
    return next(part for m in found["messages"] for part in m["content"] if isinstance(part, dict))["point_cloud"]


def test_a_row_is_a_function_of_its_number_and_noise() -> None:
    assert np.array_equal(cloud_of(row("name", 3, 0)).xyz, cloud_of(row("name", 3, 0)).xyz)
    for other in (row("name", 3, 1), row("name", 11, 0)):
        assert not np.array_equal(cloud_of(other).xyz, cloud_of(row("name", 3, 0)).xyz)


def test_one_task_asks_and_the_other_answers_with_a_cloud() -> None:
    asked, answered = row("name", 7, 0)["messages"], row("make", 7, 0)["messages"]
    assert asked[1]["content"] == ["ring"] and asked[0]["content"][0]["type"] == "point_cloud"
    assert "ring" in answered[0]["content"][0] and answered[1]["content"][0]["type"] == "point_cloud"


@pytest.mark.parametrize("name", NAMES)
def test_a_shape_stands_upright_around_the_middle_and_is_about_a_metre(name: str) -> None:
    random = np.random.default_rng(0)
    cloud = make_shape(name, random, random, 2000)
    assert len(cloud) == 2000 and 0.5 < float(np.ptp(cloud.xyz, axis=0).max()) < 2
    assert np.abs((cloud.xyz.max(axis=0) + cloud.xyz.min(axis=0))[:2]).max() < 0.25
    assert cloud.normals is not None
    np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=1e-5)


def test_the_judge_knows_shapes_and_does_not_know_noise(modality: PointCloudModality) -> None:
    fitted, ceiling = judge()
    assert ceiling > 0.95
    clouds, labels = unseen(40)
    noise = [modality.noise(cloud, np.random.default_rng(i)) for i, cloud in enumerate(clouds)]
    assert (fitted.predict(noise) == labels).mean() < 0.4


def test_noise_keeps_the_form_and_loses_the_points(modality: PointCloudModality) -> None:
    example = modality.example()
    found = modality.load(modality.noise(example, np.random.default_rng(0)))
    assert found.rgb is not None and found.normals is not None and len(found) == len(example)
    assert np.abs(found.xyz.std(axis=0) - example.xyz.std(axis=0)).max() < 0.05
    assert np.abs(np.linalg.norm(found.normals, axis=1) - 1).max() < 1e-5
    assert (found.xyz.min(axis=0) >= example.xyz.min(axis=0)).all()
    assert (found.xyz.max(axis=0) <= example.xyz.max(axis=0)).all()
    assert modality.noise(PointCloud(example.xyz), np.random.default_rng(0)).rgb is None


class Perfect:
    """A pipeline that names every shape rightly, and answers every request with a ring."""

    def run_many(self, prompts: Any, output: Any, **_: Any) -> Any:
        class Reply:
            def __init__(self, prompt: Any) -> None:
                known = {id(part): NAMES[i % 8] for i, part in enumerate(prompts)}
                self.text = known[id(prompt)]

            def media(self, name: str) -> list[PointCloud]:
                random = np.random.default_rng(0)
                return [make_shape("ring", random, random, 300)]

        return [Reply(prompt) for prompt in prompts]


def test_scores_are_shares_of_right_answers() -> None:
    named = ShapesNamedConfig(type="shapes_named").build(CONTEXT).measure(Perfect(), limit=16)  # type: ignore[arg-type]
    made = ShapesMadeConfig(type="shapes_made").build(CONTEXT).measure(Perfect(), limit=16)  # type: ignore[arg-type]
    assert (named.score, named.n) == (1.0, 16)
    assert made.score == pytest.approx(2 / 16)
