"""Which checkpoint is meant, and which is the newest."""

from pathlib import Path
from typing import Any

import pytest

from polyjanus.core.checkpoints.atomic import atomic_dir
from polyjanus.core.checkpoints.finding import CHECKPOINTS, find_checkpoint, newest, newest_run, runs_of
from polyjanus.core.errors import CheckpointError, UsageError


def _make(folder: Path, step: int) -> Path:
    with atomic_dir(folder, step=step) as draft:
        (draft / "a.txt").write_text("a")
    return folder


def test_the_newest_has_the_highest_step_whatever_its_name_and_age(tmp_path: Path) -> None:
    for name, step in (("checkpoint-10", 10), ("checkpoint-9", 9), ("a", 2), ("z", 1)):
        _make(tmp_path / name, step)
    assert newest(tmp_path) == tmp_path / "checkpoint-10"


def test_incomplete_folders_are_passed_over(tmp_path: Path) -> None:
    _make(tmp_path / "step-1", 1)
    (_make(tmp_path / "step-2", 2) / "a.txt").unlink()
    (_make(tmp_path / "step-3", 3) / "manifest.json").unlink()
    (_make(tmp_path / "step-4", 4) / "a.txt").write_text("cut or grown")
    (tmp_path / ".step-5.tmp-1234").mkdir()
    _make(tmp_path / ".step-6.old-1234", 6)
    assert newest(tmp_path) == tmp_path / "step-1"


def test_there_is_no_newest_of_nothing(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    assert newest(tmp_path / "missing") is None


def test_the_best_is_the_newest_only_where_no_other_is_newer(tmp_path: Path) -> None:
    _make(tmp_path / "best", 5)
    _make(tmp_path / "step-9", 9)
    assert newest(tmp_path) == tmp_path / "step-9"
    _make(tmp_path / "best", 9)
    assert newest(tmp_path) == tmp_path / "best"


def test_a_run_stands_for_its_newest_and_its_best_goes_by_its_path(tmp_path: Path) -> None:
    home = tmp_path / "run" / CHECKPOINTS
    _make(home / "step-9", 9)
    assert find_checkpoint(tmp_path / "run") == home / "step-9"
    _make(home / "best", 5)
    assert find_checkpoint(tmp_path / "run") == home / "step-9"
    assert find_checkpoint(home / "best") == home / "best"


def test_a_yaml_stands_for_the_last_run_that_has_a_checkpoint(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    yaml = tmp_path / "digits.yaml"
    yaml.write_text("x")
    with pytest.raises(CheckpointError, match=r"untrained(.|\n)*polyjanus train"):
        find_checkpoint(yaml)
    for run in ("2", "10", "11", "x"):
        (tmp_path / "runs" / "digits" / run).mkdir(parents=True)
    assert [run.name for run in runs_of(yaml)] == ["2", "10", "11"]
    for run in ("2", "10"):
        _make(tmp_path / "runs" / "digits" / run / CHECKPOINTS / "step-1", 1)
    assert find_checkpoint(yaml).parent.parent.name == "10"
    run = newest_run(yaml)
    assert run is not None and run.name == "10", "a run that saved nothing is not gone on with"


def test_an_empty_folder_and_an_unknown_name_say_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="neither a checkpoint nor a run"):
        find_checkpoint(tmp_path)
    for source in ("nothing", "./nothing", str(tmp_path / "x.yaml")):
        with pytest.raises(UsageError, match="there is no "):
            find_checkpoint(source)
