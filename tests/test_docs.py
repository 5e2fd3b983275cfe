"""The tutorial works as it stands, and the documentation builds without a warning."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
TUTORIAL = (DOCS / "tutorial.md").read_text(encoding="utf-8")
SHORT = ["training.stages.codec.steps=2", "training.stages.unified.steps=2"]


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_every_block_of_the_tutorial_runs_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "make.py").write_text(_blocks("python")[0], encoding="utf-8")
    (tmp_path / "lamp.yaml").write_text(_blocks("yaml")[0], encoding="utf-8")
    said: dict[str, str] = {}
    lines = [f"{sys.executable} make.py", *(line for block in _blocks("console") for line in block.splitlines())]
    assert len(lines) > 8
    for line in lines:
        words = shlex.split(line)
        if words[0] == "polyjanus":
            words[0] = str(Path(sys.executable).with_name("polyjanus"))
        more = SHORT if "sweep" in words else []  # four trainings at full length say no more
        done = subprocess.run(
            [*words, *more],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=400,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        said[line] = done.stdout
    answer = next(text for line, text in said.items() if "What does the lamp do?" in line)
    assert answer.strip() == "pulsing"
    light = [float(line.split(",")[-1]) for line in (tmp_path / "fading.csv").read_text().splitlines()[1:]]
    assert sum(light[:10]) > sum(light[-10:]) + 1000  # it fades


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    types = (tmp_path / "reference" / "types.html").read_text(encoding="utf-8")
    assert "fsq1d" in types and "samples per step of the sequence" in types
    assert "MediaError" in (tmp_path / "reference" / "errors.html").read_text(encoding="utf-8")
    assert "num_tokens" in (tmp_path / "reference" / "contracts.html").read_text(encoding="utf-8")
