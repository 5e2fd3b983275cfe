"""A run's numbers reach the trackers that are named, and a tracker that fails never ends a run."""

import warnings
from pathlib import Path
from typing import Any

import pytest

from polyjanus.core.errors import TrainingError
from polyjanus.core.training.tracking import TRACKERS, flat


def test_tensorboard_has_every_number_of_the_log(runs: Any) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tensorboard's own
        runs.training("x", "training.trackers=[tensorboard]").run()
    (events,) = (file.parent for file in (runs.home / "x" / TRACKERS).glob("*/events*"))
    found = event_accumulator.EventAccumulator(str(events)).Reload()
    losses = [record["loss"] for record in runs.log("x") if "loss" in record]
    assert [event.value for event in found.Scalars("loss")] == pytest.approx(losses, rel=1e-6)
    assert [event.step for event in found.Scalars("loss")] == list(range(1, len(losses) + 1))
    assert {"tokens/text", "image.generate.loss", "validation/captions.loss"} <= set(found.Tags()["scalars"])


class _Failing:
    requires_logging_directory = False

    def __init__(self, _: str) -> None:
        self.calls = 0

    def start(self) -> None: ...

    def store_init_configuration(self, _: Any) -> None: ...

    def log(self, *_: Any, **__: Any) -> None:
        raise OSError("no network")

    def finish(self) -> None:
        raise AssertionError("it was left out")


def test_a_tracker_that_fails_is_told_once_and_the_run_goes_on(runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = pytest.importorskip("accelerate.tracking")
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "failing", _Failing)
    with pytest.warns(UserWarning, match="'failing' failed and is left out: no network") as told:
        runs.training("x", "training.trackers=[failing]").run()
    assert len(told) == 1 and runs.log("x")[-1]["total"] == 8


def test_an_unknown_tracker_is_refused_before_the_first_step(runs: Any) -> None:
    pytest.importorskip("accelerate.tracking")
    with pytest.raises(TrainingError, match="no tracker 'tensorbord'; did you mean 'tensorboard'"):
        runs.training("x", "training.trackers=[tensorbord]").run()
    assert not Path(runs.home / "x" / "log.jsonl").exists()


def test_nested_blocks_become_names() -> None:
    assert flat({"a": {"b": 1, "c": {"d": 2.5}}, "e": ["x"], "f": True}) == {
        "a/b": 1,
        "a/c/d": 2.5,
        "e": "['x']",
        "f": True,
    }
