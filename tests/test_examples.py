"""Every example validates, and every part of it fits."""

from pathlib import Path
from typing import Any

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.yaml"))


FETCHED = {"janus_pro_1b_lora"}
"""Examples that begin with weights from the hub, which tests do not fetch."""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_validates_and_fits(path: Path, plugins: Any) -> None:
    from polyjanus.core.config.reading import read_pipeline
    from polyjanus.core.model.wiring import check_wiring

    overrides = ["pretrained=null"] if path.stem in FETCHED else []
    assert not check_wiring(read_pipeline(path, plugins.registries, overrides), plugins.registries).faults


WAITING = {"janus_pro_1b", "janus_pro_7b", "janus_pro_1b_lora", "janus_recipe", "janus_pro_recipe", "senses"}
"""Examples that wait for published weights, or for the user's own data."""
TRAINED = [path for path in EXAMPLES if path.stem not in WAITING]


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
def test_an_example_with_data_trains_and_writes(
    path: Path, plugins: Any, tmp_path: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from polyjanus.core.config.reading import read_pipeline
    from polyjanus.core.pipeline import Pipeline
    from polyjanus.core.training.loop import Training

    monkeypatch.setattr("polyjanus.examples.quintet.world.FILE", speech)
    config = read_pipeline(path, plugins.registries).config
    assert config.training
    stages = [f"training.stages.{stage.name}" for stage in config.training.stages]
    short = [f"{stage}.{change}" for stage in stages for change in ("steps=2", "batch=4")]
    pipeline = Pipeline.from_yaml(path, short, plugins=plugins, device="cpu")

    class Silent:
        def stage(self, stage: Any, done: int) -> None: ...

        def step(self, record: Any) -> None: ...

    Training(pipeline, tmp_path, path.parent, Silent()).run()
    assert not (tmp_path / "bad_rows.jsonl").exists()
    again = Pipeline.from_pretrained(tmp_path, plugins=plugins, device="cpu")
    for name in config.generated():
        (media,) = again.run("Make a high one.", [name]).media(name)
        modality = again.compiler.modalities[name]
        modality.save(media, tmp_path / f"made{modality.suffixes[0]}")
        assert modality.load(tmp_path / f"made{modality.suffixes[0]}") is not None


FIRST = {
    "image.understand.adaptor",
    "image.generate.adaptor",
    "image.generate.embedding",
    "image.generate.head",
    "marks",
}
SECOND = FIRST | {"backbone", "text.embedding", "text.head"}
THIRD = SECOND | {"image.understand.encoder"}
PUBLISHED = {  # learning rate, schedule, warm-up, weight decay, steps, batch, reading : text : drawing
    "janus_recipe": [
        (1e-3, "cosine", 300, 0.0, 10_000, 256, (1, 0, 1)),
        (1e-4, "constant", 5_000, 0.0, 180_000, 512, (2, 3, 5)),
        (2e-5, "constant", 0, 0.1, 24_000, 256, (7, 3, 10)),
    ],
    "janus_pro_recipe": [
        (1e-3, "constant", 600, 0.0, 20_000, 256, (1, 0, 3)),
        (1e-4, "constant", 5_000, 0.0, 360_000, 512, (2, 3, 5)),
        (4e-5, "constant", 0, 0.0, 80_000, 128, (5, 1, 4)),
    ],
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_has_the_stages_of_its_paper(name: str, plugins: Any) -> None:
    """Table 1 of arXiv 2410.13848 and table 2 of arXiv 2501.17811; what is trained: figure 3 of the first."""
    from polyjanus.core.config.reading import read_pipeline
    from polyjanus.core.training.globs import chosen

    path = next(path for path in EXAMPLES if path.stem == name)
    config = read_pipeline(path, plugins.registries).config
    assert config.training and config.training.max_tokens == 4096 and config.training.caption_dropout == 0.1
    found = [
        (
            stage.lr,
            stage.schedule,
            stage.warmup,
            stage.weight_decay,
            stage.steps,
            stage.batch,
            tuple(int(stage.mix.get(source, 0)) for source in ("read", "text", "draw")),
        )
        for stage in config.training.stages
    ]
    assert found == PUBLISHED[name]
    for stage, parts in zip(config.training.stages, (FIRST, SECOND, THIRD), strict=True):
        assert set(chosen(stage.train, config.component_paths())) == parts
        assert (stage.betas, stage.clip) == ((0.9, 0.95), 1.0)


def test_a_part_that_is_neither_pretrained_nor_trained_is_told(plugins: Any) -> None:
    from polyjanus.core.config.reading import read_pipeline
    from polyjanus.core.model.wiring import check_wiring

    path = next(path for path in EXAMPLES if path.stem == "motion")
    assert not check_wiring(read_pipeline(path, plugins.registries), plugins.registries).left_fresh()
    forgotten = ["training.stages.unified.train=[backbone, text, marks, motion.generate.head]"]
    wiring = check_wiring(read_pipeline(path, plugins.registries, forgotten), plugins.registries)
    assert wiring.left_fresh()[0] == "motion.generate.embedding"
    assert "note: motion.understand.encoder is neither pretrained nor trained by any stage" in wiring.memory_report()


def test_tuning_janus_pro_1b_fits_on_24_gb(plugins: Any) -> None:
    from polyjanus.core.config.reading import read_pipeline
    from polyjanus.core.model.wiring import check_wiring

    path = next(path for path in EXAMPLES if path.stem == "janus_pro_1b_lora")
    loaded = read_pipeline(path, plugins.registries, ["pretrained=null"])
    (stage,) = check_wiring(loaded, plugins.registries).stages()
    assert stage.total < 16e9 and stage.weights > 8e9
    assert stage.parameters < 90e6
