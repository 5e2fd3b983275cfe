"""Runs of a tiny pipeline over a few rows of text and pictures."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from polyjanus.core.checkpoints.components import load_components
from polyjanus.core.checkpoints.finding import CHECKPOINTS, newest
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.training.log import LOG, TIMED
from polyjanus.core.training.loop import Training

STAGES = """[
  {name: codec, objective: reconstruct, train: [image.generate.codec], mix: {captions: 1}, steps: 3, batch: 3,
   lr: 1e-3},
  {name: all, train: [backbone, text, marks, image.understand, image.generate.embedding, image.generate.adaptor,
   image.generate.head], mix: {captions: 1, words: 1}, steps: 5, batch: 4, lr: 3e-3, warmup: 2, schedule: cosine}]"""


class Quiet:
    """A display that may be told to do something after some step, or with 0 before the first."""

    def __init__(self, at: dict[int, Callable[[], Any]] | None = None) -> None:
        self.at = at or {}

    def stage(self, stage: Any, done: int) -> None:
        self.at.pop(0, lambda: None)()

    def step(self, record: dict[str, Any]) -> None:
        if "loss" in record and record["total"] in self.at:
            self.at[record["total"]]()


class Runs:
    """Makes, resumes and reads runs of one YAML."""

    def __init__(self, home: Path, plugins: Any, yaml: str) -> None:
        self.home, self.plugins, self.yaml = home, plugins, yaml
        self.file = home / "tiny.yaml"

    def training(self, name: str, *overrides: str, resume: bool = False, display: Any = None) -> Training:
        self.file.write_text(self.yaml, encoding="utf-8")
        pipeline = Pipeline.from_yaml(self.file, overrides, plugins=self.plugins, device="cpu")
        folder = self.home / name
        checkpoint = newest(folder / CHECKPOINTS) if resume else None
        if checkpoint is not None:
            load_components(pipeline.model, checkpoint)
        folder.mkdir(exist_ok=True)
        training = Training(pipeline, folder, self.home, display or Quiet())
        if checkpoint is not None:
            training.resume(checkpoint)
        return training

    def log(self, name: str) -> list[dict[str, Any]]:
        lines = (self.home / name / LOG).read_text().splitlines()
        return [{k: v for k, v in json.loads(line).items() if k not in TIMED} for line in lines]


@pytest.fixture(scope="session")
def quiet() -> Callable[[dict[int, Callable[[], Any]]], Quiet]:
    """Return what makes displays that do something at some step."""
    return Quiet


@pytest.fixture
def runs(tmp_path: Path, plugins: Any, picture: Any, tiny_text: str) -> Runs:
    rows: list[str] = []
    for turn in range(7):
        picture.rotate(37 * turn).save(tmp_path / f"{turn}.png")
        part = {"type": "image", "path": f"{turn}.png"}
        asked = [{"role": "user", "content": f"draw {turn}"}, {"role": "assistant", "content": [part]}]
        rows.append(json.dumps({"messages": asked}))
    (tmp_path / "captions.jsonl").write_text("\n".join(rows))
    (tmp_path / "words.jsonl").write_text("\n".join(json.dumps({"text": f"word {i}" * 2}) for i in range(5)))
    head, _, _ = tiny_text.partition("data:")
    block = "data:\n  captions: {type: jsonl, path: ./captions.jsonl, validation: 0.15}\n"
    block += "  words: {type: jsonl, path: ./words.jsonl}\ntraining:\n  validation: {every: 2}\n  save: {every: 2}\n"
    dropout = head.replace("max_position_embeddings: 512}", "max_position_embeddings: 512, attention_dropout: 0.1}")
    assert dropout != head
    return Runs(tmp_path, plugins, f"{dropout}{block}  stages: {STAGES}\n")


@pytest.fixture
def yaml(runs: Any) -> Path:
    """Return a pipeline without dropout and without a stage that moves batch statistics."""
    text = runs.yaml.replace(", attention_dropout: 0.1", "")
    codec = text[text.index("  {name: codec") : text.index("  {name: all")]
    runs.file.write_text(text.replace(codec, ""), encoding="utf-8")
    return runs.file


@pytest.fixture(scope="session")
def several() -> SimpleNamespace:
    """Return what starts and reads runs of several processes."""
    return SimpleNamespace(start=_start, finish=_finish, losses=_losses, flat=_flat)


def _start(yaml: Path, run: Path, *arguments: str, world: int = 1) -> list[subprocess.Popen[str]]:
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


def _finish(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    try:
        found = [(*process.communicate(timeout=200), process) for process in processes]
    finally:  # where one of them waits for ever
        for process in processes:
            process.kill()
    return [(process.returncode, out, err) for out, err, process in found]


def _losses(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    kept = ("step", "loss", "text.loss", "image.generate.loss", "positions", "validation", "grad_norm")
    return [{name: line[name] for name in kept if name in line} for line in lines]


def _flat(record: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in {**record, **record.get("validation", {})}.items() if name != "validation"}
