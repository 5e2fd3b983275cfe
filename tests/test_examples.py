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


WAITING = {"janus_pro_1b", "janus_pro_7b", "senses"}
"""Examples that wait for published weights, or for the user's own data."""
TRAINED = [path for path in EXAMPLES if path.stem not in WAITING]


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
def test_an_example_with_data_trains_and_writes(path: Path, plugins: Any, tmp_path: Path) -> None:
    from polyjanus.core.config.reading import read_pipeline
    from polyjanus.core.pipeline import Pipeline
    from polyjanus.core.training.loop import Training

    config = read_pipeline(path, plugins.registries).config
    assert config.training
    stages = [f"training.stages.{stage.name}" for stage in config.training.stages]
    short = [f"{stage}.{change}" for stage in stages for change in ("steps=2", "batch=4")]
    pipeline = Pipeline.from_yaml(path, short, plugins=plugins, device="cpu")

    class Silent:
        def stage(self, stage: Any, done: int) -> None: ...

        def step(self, record: Any) -> None: ...

    Training(pipeline, tmp_path, path.parent, Silent()).run()
    again = Pipeline.from_pretrained(tmp_path, plugins=plugins, device="cpu")
    for name in config.generated():
        (media,) = again.run("Make a high one.", [name]).media(name)
        modality = again.compiler.modalities[name]
        modality.save(media, tmp_path / f"made{modality.suffixes[0]}")
        assert modality.load(tmp_path / f"made{modality.suffixes[0]}") is not None
