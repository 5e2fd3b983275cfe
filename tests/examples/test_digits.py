from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyjanus.core.judging import variety
from polyjanus.examples.digits.judges import KernelClassifier, features, judge, real_digits
from polyjanus.examples.digits.source import DigitRows, load_digits, render


def test_the_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits as library

    theirs = library()
    mine = [load_digits(held_out=flag) for flag in (False, True)]
    assert sum(len(part.labels) for part in mine) == len(theirs.target)
    known = {picture.astype(np.uint8).tobytes() for picture in theirs.images}
    assert all(picture.tobytes() in known for part in mine for picture in part.pictures)


def test_held_out_digits_are_never_trained_on() -> None:
    train, test = load_digits(held_out=False), load_digits(held_out=True)
    assert len(test.labels) == 360
    trained = {picture.tobytes() for picture in train.pictures}
    shared = sum(picture.tobytes() in trained for picture in test.pictures)
    assert shared == 0


def test_the_judge_agrees_with_a_library_that_is_fitted_on_the_same_pictures() -> None:
    from sklearn.svm import SVC

    train, test = load_digits(held_out=False), load_digits(held_out=True)
    known = features([render(p, 32) for p in train.pictures])
    fresh = features([render(p, 32) for p in test.pictures])
    library = SVC(gamma=0.05, C=10).fit(known, train.labels)
    fitted, ceiling = judge(32)
    assert ceiling > 0.97
    assert (fitted.predict(fresh) == library.predict(fresh)).mean() > 0.97


def test_the_judge_is_not_fooled_by_noise_or_by_the_wrong_digit() -> None:
    fitted, _ = judge(32)
    test = load_digits(held_out=True)
    vectors = features([render(p, 32) for p in test.pictures])
    assert (fitted.predict(vectors) == (test.labels + 1) % 10).mean() < 0.02
    assert isinstance(fitted, KernelClassifier)


def test_a_memorised_digit_has_no_variety() -> None:
    test = load_digits(held_out=True)
    vectors = features([render(p, 32) for p in test.pictures[:200]])
    labels = test.labels[:200]
    one_each = np.stack([vectors[labels == label][0] for label in labels])
    real, memorised = (variety(made, labels, *real_digits()) for made in (vectors, one_each))
    assert real["spread"] > 0.9 and real["distinct"] == 1.0
    assert memorised["spread"] < 0.1 and memorised["distinct"] < 0.1
    trained = load_digits(held_out=False)
    copies = features([render(p, 32) for p in trained.pictures[:200]])
    assert variety(copies, trained.labels[:200], *real_digits())["nearest"] < 0.01


@pytest.mark.parametrize("task", ["read", "draw"])
def test_a_row_depends_on_its_noise_alone(task: str) -> None:
    rows = DigitRows(task, 32, 1.0)
    first, again, other = (rows.row(5, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert str(first) == str(again) and str(first) != str(other)


def test_the_yaml_is_the_one_that_the_shipped_model_was_made_with(plugins: Any) -> None:
    from polyjanus.core.checkpoints.finding import find_checkpoint
    from polyjanus.core.config.reading import read_pipeline
    from polyjanus.core.training.state import changes

    example = Path(__file__).parents[2] / "examples" / "digits.yaml"
    written = read_pipeline(example, plugins.registries).config
    shipped = read_pipeline(find_checkpoint("digits") / "polyjanus.yaml", plugins.registries).config
    dumps = [config.model_dump(mode="json", serialize_as_any=True) for config in (written, shipped)]
    allowed = {"text.tokenizer.pretrained", "text.tokenizer.type", "backbone.architecture.vocab_size"}
    assert set(changes(*dumps)) <= allowed


@pytest.mark.slow
def test_the_shipped_model_reads_and_draws_held_out_digits(plugins: Any) -> None:
    from polyjanus.core.evaluation import evaluate
    from polyjanus.core.pipeline import Pipeline

    scores = dict(evaluate(Pipeline.from_pretrained("digits", plugins=plugins, device="cpu")))
    assert scores["reading"].score >= 0.95 and scores["reading"].n == 360
    drawing = scores["drawing"]
    assert drawing.score >= 0.90 and drawing.n == 200
    assert drawing.details["distinct"] == 1.0
    assert drawing.details["spread"] >= 0.5
    assert drawing.details["nearest"] > 0.3
