"""The example of a third-party distribution: installed from its folder, it trains, reads and writes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SOURCE = Path(__file__).parents[2] / "examples" / "thermal"


def call(folder: Path, packages: Path, *words: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_an_installed_plugin_trains_and_runs_in_and_out(tmp_path: Path) -> None:
    folder, packages = tmp_path / "thermal", tmp_path / "packages"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__", "data", "runs"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    call(folder, packages, "-m", "pip", "install", *options, "--target", packages, ".")
    shutil.rmtree(folder / "polyjanus_thermal")  # what is installed is used
    call(folder, packages, "make_data.py")
    polyjanus = ["-m", "polyjanus"]
    listed = json.loads(call(folder, packages, *polyjanus, "plugins", "list", "--json"))
    mine = {row["type"]: row for row in listed if row["distribution"] == "polyjanus-thermal"}
    assert {row["kind"] for row in mine.values()} == {"modality", "encoder", "codec"}
    checked = json.loads(call(folder, packages, *polyjanus, "plugins", "check", "thermal", "--json"))
    assert len(checked) > 50 and "failed" not in {row["outcome"] for row in checked}
    short = [f"training.stages.{stage}" for stage in ("codec.steps=100", "unified.steps=200", "unified.batch=32")]
    call(folder, packages, *polyjanus, "train", "thermal.yaml", *short)
    rows = [json.loads(line)["messages"] for line in (folder / "data" / "test.jsonl").read_text().splitlines()[:24]]
    code = "import sys, json; from polyjanus import Pipeline; p = Pipeline.from_pretrained(sys.argv[1]);"
    code += "print(json.dumps([r.text for r in p.run_many(json.loads(sys.argv[2]), max_tokens=24)]))"
    prompts = [
        [{**row[0]["content"][0], "path": f"data/{row[0]['content'][0]['path']}"}, row[0]["content"][1]] for row in rows
    ]
    answers = json.loads(call(folder, packages, "-c", code, "thermal.yaml", json.dumps(prompts)))
    right = sum(answer == row[1]["content"] for answer, row in zip(answers, rows, strict=True))
    assert right >= 11, answers  # chance is 6
    call(folder, packages, *polyjanus, "run", "thermal.yaml", "Show one person.", "--output", "thermal", "-o", "a.npy")
    made = np.load(folder / "a.npy")
    assert made.shape == (1, 8, 8) and 15 < np.median(made) < 27
