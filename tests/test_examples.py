"""Every example validates, and every part of it fits."""

from pathlib import Path
from typing import Any

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_validates_and_fits(path: Path, plugins: Any) -> None:
    from polyjanus.core.config.reading import read_pipeline
    from polyjanus.core.model.wiring import check_wiring

    assert not check_wiring(read_pipeline(path, plugins.registries), plugins.registries).faults


def test_the_digits_example_trains(plugins: Any, tmp_path: Path) -> None:
    from polyjanus.core.pipeline import Pipeline
    from polyjanus.core.training.loop import Training

    path = next(path for path in EXAMPLES if path.stem == "digits")
    short = ["training.stages.codec.steps=2", "training.stages.unified.steps=2", "training.stages.unified.batch=4"]
    pipeline = Pipeline.from_yaml(path, short, plugins=plugins, device="cpu")

    class Silent:
        def stage(self, stage: Any, done: int) -> None: ...

        def step(self, record: Any) -> None: ...

    Training(pipeline, tmp_path, path.parent, Silent()).run()
    again = Pipeline.from_pretrained(tmp_path, plugins=plugins, device="cpu")
    assert again.run("Draw a one.", ["image"]).image.size == (32, 32)
