"""A command line that runs in this process, with the stand-ins as its only plugins."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from polyjanus.core.cli.main import main
from polyjanus.core.manager import Plugins
from polyjanus.core.registry import Registries


@dataclass
class Outcome:
    """What a call of the command line left behind."""

    status: int
    out: str
    err: str


@pytest.fixture
def cli(
    registries: Registries, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run the command line and return status and output."""
    plugins = Plugins(registries=registries)
    monkeypatch.setattr("polyjanus.core.manager.load_plugins", lambda *_, **__: plugins)

    def call(*arguments: object) -> Outcome:
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Outcome(status, out, err)

    return call


@pytest.fixture
def call(
    plugins: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line with everything that ships; return status, stdout and stderr."""
    monkeypatch.setattr("polyjanus.core.manager.load_plugins", lambda *_, **__: plugins)

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return status, out, err

    return run


@pytest.fixture
def rows(tiny_yaml: Path, picture: Any) -> Callable[[list[Any]], Path]:
    """Write captions.jsonl beside the small pipeline and return the pipeline's file."""
    picture.save(tiny_yaml.with_name("a.png"))

    def write(lines: list[Any]) -> Path:
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        tiny_yaml.with_name("captions.jsonl").write_text(text, encoding="utf-8")
        return tiny_yaml

    return write
