"""docs/scaling.md is true: its loop runs on two processes, its table is what its commands print."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
ENV = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [line.split("#")[0] for line in blocks("console")[-1].splitlines() if "torchrun" not in line or "CPU" in line],
)
def test_the_loop_for_accelerate_runs(command: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(blocks("python")[0], encoding="utf-8")
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=200, env=ENV)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^loss [0-9.]+$", done.stdout, re.MULTILINE)) == (2 if "torchrun" in command else 4)
    assert (tmp_path / "trained" / "manifest.json").is_file()


@pytest.mark.slow
def test_the_table_is_what_its_commands_print() -> None:
    (script,) = (block for block in blocks("bash") if "--memory" in block)
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=200, env=ENV)
    assert done.returncode in (0, 1), done.stderr  # 1 where the last one is OVER
    names = ("unified:", "weights", "gradients", "optimiser", "activations", "gathered")
    printed = [
        [float(size) * {"MB": 1e-3, "GB": 1}[unit] for name in names for size, unit in _sizes(name, line)]
        for line in done.stdout.splitlines()
        if "unified:" in line
    ]
    rows = [line.split("|")[4:-1] for line in PAGE.splitlines() if re.match(r"\| [17]B ", line)]
    assert printed == [[float(cell) for cell in row if cell.strip()] for row in rows] and len(printed) == 5


def _sizes(name: str, line: str) -> list[tuple[str, str]]:
    return re.findall(rf"{name} ([0-9.]+) ([MG]B)", line)


@pytest.mark.parametrize(
    "line", [line for block in blocks("console") for line in block.splitlines() if "train my" in line]
)
def test_settings_in_commands_are_settings(line: str) -> None:
    from polyjanus.core.config.schema import TrainingConfig

    for name in re.findall(r"training\.(\w+)=", line):
        assert name in TrainingConfig.model_fields
