"""Two processes train as one does: the same losses and weights, though one of them never sees a picture."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from polyjanus.core.checkpoints.atomic import verify
from polyjanus.core.checkpoints.finding import CHECKPOINTS, newest
from polyjanus.core.pipeline import Pipeline

TEXT = "training.samples=[{prompt: x, max_tokens: 2}]"


@pytest.mark.slow
def test_two_processes_have_the_losses_and_weights_of_one(
    yaml: Path, several: Any, plugins: Any, tmp_path: Path
) -> None:
    """The rows of a step alternate between pictures and words, so the second process has words alone."""
    both = several.start(yaml, tmp_path / "one", TEXT), several.start(yaml, tmp_path / "two", TEXT, world=2)
    results = [several.finish(processes) for processes in both]
    assert all(code == 0 for result in results for code, _, _ in result), results
    assert [out.strip() for _, out, _ in results[1]] == [str(tmp_path / "two"), ""]
    one, two = several.losses(tmp_path / "one"), several.losses(tmp_path / "two")
    assert len(one) == len(two) > 5
    for mine, theirs in zip(two, one, strict=True):
        assert several.flat(mine) == pytest.approx(several.flat(theirs), rel=1e-4)
        assert mine.get("loss", 0) == pytest.approx(theirs.get("loss", 0), rel=1e-5)
    models = [
        Pipeline.from_pretrained(newest(tmp_path / name / CHECKPOINTS) or "", plugins=plugins, device="cpu").model
        for name in ("one", "two")
    ]
    for name, value in models[0].state_dict().items():
        torch.testing.assert_close(models[1].state_dict()[name], value, rtol=1e-3, atol=2e-4, msg=name)


@pytest.mark.slow
def test_two_processes_go_on_where_they_stopped(yaml: Path, several: Any, tmp_path: Path) -> None:
    save = "training.save={every: 2, keep: 9}"
    assert all(code == 0 for code, _, _ in several.finish(several.start(yaml, tmp_path / "whole", save, world=2)))
    assert all(code == 0 for code, _, _ in several.finish(several.start(yaml, tmp_path / "cut", save, world=2)))
    for path in (tmp_path / "cut" / CHECKPOINTS).iterdir():
        if path.name not in ("step-0000002",):
            path.rename(tmp_path / path.name)
    assert all(
        code == 0 for code, _, _ in several.finish(several.start(yaml, tmp_path / "cut", save, "--resume", world=2))
    )
    assert several.losses(tmp_path / "cut") == several.losses(tmp_path / "whole")
    for path in (tmp_path / "cut" / CHECKPOINTS).iterdir():
        if path.name != "step-0000002":
            path.rename(tmp_path / f"again-{path.name}")
    assert several.finish(several.start(yaml, tmp_path / "cut", save, "--resume"))[0][0] == 0, (
        "one process goes on for two"
    )
    for mine, theirs in zip(several.losses(tmp_path / "cut"), several.losses(tmp_path / "whole"), strict=True):
        assert mine.get("loss", 0) == pytest.approx(theirs.get("loss", 0), rel=1e-5)


@pytest.mark.slow
def test_steps_with_fewer_rows_than_processes_are_refused(yaml: Path, several: Any, tmp_path: Path) -> None:
    results = several.finish(several.start(yaml, tmp_path / "x", "training.stages.all.batch=1", world=2))
    assert [code for code, _, _ in results] == [2, 2]
    first, second = (error for _, _, error in results)
    assert "has 1 rows a step for 2 processes" in first and "Traceback" not in first
    assert second.strip() == "", "what all processes would say is said by the first"


@pytest.mark.slow
def test_processes_that_are_interrupted_leave_one_whole_checkpoint_and_no_traceback(
    yaml: Path, several: Any, tmp_path: Path
) -> None:
    run, save = tmp_path / "x", "training.save={every: 100000}"
    processes = several.start(yaml, run, "training.stages.all.steps=100000", save, world=2)
    log = run / "log.jsonl"
    for _ in range(600):
        if (log.is_file() and log.stat().st_size) or any(process.poll() is not None for process in processes):
            break
        time.sleep(0.1)
    for process in processes:
        process.send_signal(signal.SIGINT)
    results = several.finish(processes)
    assert [code for code, _, _ in results] == [130, 130]
    assert all("Traceback" not in error for _, _, error in results)
    saved = verify(newest(run / CHECKPOINTS) or run)["step"]
    again = f"torchrun --nproc-per-node 2 -m polyjanus train {run} --resume --device cpu"
    assert f"stopped after step {saved} and saved; go on with: {again}" in results[0][2]
    assert "stopped" not in results[1][2]
