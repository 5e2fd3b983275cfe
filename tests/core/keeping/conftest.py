"""A small pipeline whose codec and encoder no stage trains, over pictures that are drawn and read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from polyjanus.core.cli.main import main
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.training.log import LOG
from polyjanus.core.training.loop import Training

STAGES = """[{name: all, train: [backbone, text, marks, "*.adaptor", image.generate.embedding, image.generate.head],
  mix: {captions: 1}, steps: 3, batch: 4, lr: 3e-3}]"""


class Silent:
    """A display that shows nothing, and knows which stages began."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, stage: Any, done: int) -> None:
        """Note the stage."""
        self.stages.append(stage.name)

    def step(self, record: dict[str, Any]) -> None:
        """Show nothing."""


class Work:
    """A folder with pictures, rows and a YAML, and what is done with them."""

    rows = 8

    def __init__(self, home: Path, plugins: Any, yaml: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self.plugins, self.capsys = home, plugins, capsys
        self.display = Silent()
        self.file, self.store = home / "tiny.yaml", home / ".polyjanus" / "kept"
        self.file.write_text(yaml, encoding="utf-8")
        noise, lines = np.random.default_rng(0), list[str]()
        for number in range(self.rows):
            Image.fromarray(noise.integers(0, 255, (18, 20, 3), dtype=np.uint8)).save(home / f"{number}.png")
            part = {"type": "image", "path": f"{number}.png"}
            sides = [f"draw {number}", [part]] if number % 2 else [["read ", part], f"number {number}"]
            said = [{"role": role, "content": side} for role, side in zip(("user", "assistant"), sides, strict=True)]
            lines.append(json.dumps({"messages": said}))
        (home / "captions.jsonl").write_text("\n".join(lines), encoding="utf-8")

    def precompute(self, *words: str, status: int = 0) -> dict[str, Any]:
        """Run the command and return its report."""
        assert main(["precompute", str(self.file), *words, "--json"]) == status
        self.err = ""
        out, self.err = self.capsys.readouterr()
        return json.loads(out) if out else {}

    def of(self, report: dict[str, Any], path: str = "image.generate.codec") -> tuple[int, int, int]:
        """Return the items, hits and computed of one component."""
        (found,) = (each for each in report["components"] if each["path"] == path)
        return found["items"], found["hits"], found["computed"]

    def pipeline(self, *overrides: str) -> Pipeline:
        """Return the pipeline with fresh weights."""
        return Pipeline.from_yaml(self.file, overrides, plugins=self.plugins, device="cpu")

    def train(self, name: str, *overrides: str, with_store: bool = True, change: Any = None) -> list[dict[str, Any]]:
        """Train and return the log without times; `change` is done to the pipeline before."""
        pipeline = self.pipeline(*overrides)
        if not with_store:
            pipeline.keep(None)
        if change is not None:
            change(pipeline)
        (self.home / name).mkdir()
        Training(pipeline, self.home / name, self.home, self.display).run()
        lines = (self.home / name / LOG).read_text().splitlines()
        keys = ("loss", "grad_norm", "image.generate.loss", "text.loss", "validation")
        return [{k: v for k, v in json.loads(line).items() if k in keys} for line in lines]


@pytest.fixture
def work(
    tmp_path: Path,
    plugins: Any,
    tiny_text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Work:
    monkeypatch.setattr("polyjanus.core.manager.load_plugins", lambda *_, **__: plugins)
    head, _, _ = tiny_text.partition("data:")
    data = "data:\n  captions: {type: jsonl, path: ./captions.jsonl}\n"
    return Work(tmp_path, plugins, f"{head}{data}training:\n  stages: {STAGES}\n", capsys)


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[Pipeline], None]:
    """Return what makes a pipeline fail if it decodes, prepares, encodes or reads features."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("this was computed before")

    def forbidden(pipeline: Pipeline) -> None:
        for path in ("image.generate.codec", "image.understand.encoder"):
            for name in ("prepare", "encode", "forward"):
                monkeypatch.setattr(pipeline.parts.modules[path], name, refuse, raising=False)
        monkeypatch.setattr(pipeline.compiler.decoder, "load", refuse)

    return forbidden
