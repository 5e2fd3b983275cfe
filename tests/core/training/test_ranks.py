"""Two processes train as one does: the same losses and weights, though one of them never sees a picture."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from polyjanus.core.checkpoints.finding import CHECKPOINTS, newest
from polyjanus.core.pipeline import Pipeline

TEXT = "training.samples=[{prompt: x, max_tokens: 2}]"


def start(yaml: Path, run: Path, *arguments: str, world: int = 1) -> list[subprocess.Popen[str]]:
    """Start the processes of one run, as torchrun does."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "polyjanus", "train", str(yaml), "--run", str(run), "--device", "cpu"]
    processes = []
    for rank in range(world):
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        if world > 1:
            env |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
            env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        processes.append(
            subprocess.Popen(
                [*command, "--quiet", *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    return processes


def finish(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    found = [(*process.communicate(timeout=200), process) for process in processes]
    return [(process.returncode, out, err) for out, err, process in found]


def losses(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    kept = ("step", "loss", "text.loss", "image.generate.loss", "positions", "validation", "grad_norm")
    return [{name: line[name] for name in kept if name in line} for line in lines]


def flat(record: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in {**record, **record.get("validation", {})}.items() if name != "validation"}


@pytest.fixture
def yaml(runs: Any) -> Path:
    """Return a pipeline without dropout and without a stage that moves batch statistics."""
    text = runs.yaml.replace(", attention_dropout: 0.1", "")
    codec = text[text.index("  {name: codec") : text.index("  {name: all")]
    runs.file.write_text(text.replace(codec, ""), encoding="utf-8")
    return runs.file


@pytest.mark.slow
def test_two_processes_have_the_losses_and_weights_of_one(yaml: Path, plugins: Any, tmp_path: Path) -> None:
    """The rows of a step alternate between pictures and words, so the second process has words alone."""
    both = start(yaml, tmp_path / "one", TEXT), start(yaml, tmp_path / "two", TEXT, world=2)
    results = [finish(processes) for processes in both]
    assert all(code == 0 for result in results for code, _, _ in result), results
    assert [out.strip() for _, out, _ in results[1]] == [str(tmp_path / "two"), ""]
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) > 5
    for mine, theirs in zip(two, one, strict=True):
        assert flat(mine) == pytest.approx(flat(theirs), rel=1e-4)
        assert mine.get("loss", 0) == pytest.approx(theirs.get("loss", 0), rel=1e-5)
    models = [
        Pipeline.from_pretrained(newest(tmp_path / name / CHECKPOINTS) or "", plugins=plugins, device="cpu").model
        for name in ("one", "two")
    ]
    for name, value in models[0].state_dict().items():
        torch.testing.assert_close(models[1].state_dict()[name], value, rtol=1e-3, atol=2e-4, msg=name)


@pytest.mark.slow
def test_two_processes_go_on_where_they_stopped(yaml: Path, tmp_path: Path) -> None:
    save = "training.save={every: 2, keep: 9}"
    assert all(code == 0 for code, _, _ in finish(start(yaml, tmp_path / "whole", save, world=2)))
    assert all(code == 0 for code, _, _ in finish(start(yaml, tmp_path / "cut", save, world=2)))
    for path in (tmp_path / "cut" / CHECKPOINTS).iterdir():
        if path.name not in ("step-0000002",):
            path.rename(tmp_path / path.name)
    assert all(code == 0 for code, _, _ in finish(start(yaml, tmp_path / "cut", save, "--resume", world=2)))
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    for path in (tmp_path / "cut" / CHECKPOINTS).iterdir():
        if path.name != "step-0000002":
            path.rename(tmp_path / f"again-{path.name}")
    assert finish(start(yaml, tmp_path / "cut", save, "--resume"))[0][0] == 0, "one process goes on for two"
    for mine, theirs in zip(losses(tmp_path / "cut"), losses(tmp_path / "whole"), strict=True):
        assert mine.get("loss", 0) == pytest.approx(theirs.get("loss", 0), rel=1e-5)


@pytest.mark.slow
def test_steps_with_fewer_rows_than_processes_are_refused(yaml: Path, tmp_path: Path) -> None:
    for code, _, error in finish(start(yaml, tmp_path / "x", "training.stages.all.batch=1", world=2)):
        assert code == 2 and "has 1 rows a step for 2 processes" in error
