"""docs/plugins.md is true: its commands run in their order, its Python runs, and what it names is there."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[3] / "docs" / "plugins.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_commands_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    programs = {"polyjanus": [sys.executable, "-m", "polyjanus"], "python": [sys.executable]}
    for line in blocks("console")[0].splitlines():
        program, *words = shlex.split(line)
        short = ["training.stages.codec.steps=5", "training.stages.unified.steps=5"] if "train" in words else []
        done = subprocess.run(
            [*programs[program], *words, *short], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "left.npy").is_file()


def test_the_bases_are_where_the_page_says() -> None:
    for name, module in re.findall(r"`(\w+)(?:\([^`]*\))?` \(`(polyjanus\.[\w.]+)`\)", PAGE):
        assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


def test_the_python_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from polyjanus.core.scaffold.writing import write_plugin

    write_plugin("thermal", ("understand", "generate"), tmp_path, is_single=True)
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks("python")[0], "plugins.md", "exec"), {})
