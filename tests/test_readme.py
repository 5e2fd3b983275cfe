"""The README is true: its commands run, its Python runs, its YAML validates, its plugin loads."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("console") for line in block.splitlines()]
    return [line for line in lines if line.split()[:1] == [program]]


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert commands("make") == ["make demo", "make test"]
    for line in commands("make"):
        assert re.search(rf"^{line.split()[1]}:", makefile, re.MULTILINE)


@pytest.mark.slow
def test_every_command_of_the_readme_runs_in_its_order(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    program = Path(sys.executable).with_name("polyjanus")
    lines = commands("polyjanus")
    assert len(lines) >= 8
    for line in lines:
        done = subprocess.run(
            [program, *shlex.split(line)[1:]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert (tmp_path / "seven.png").is_file() and (tmp_path / ".polyjanus.schema.json").is_file()


@pytest.mark.slow
def test_the_python_of_the_readme_reads_what_it_drew(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(blocks("python")[0], "README.md", "exec"), {})
    assert capsys.readouterr().out.strip() == "seven"


def test_the_yaml_of_the_readme_is_valid(tmp_path: Path, plugins: Any) -> None:
    from polyjanus.core.config.reading import read_pipeline
    from polyjanus.core.model.wiring import check_wiring

    path = tmp_path / "readme.yaml"
    path.write_text(blocks("yaml")[0], encoding="utf-8")
    assert not check_wiring(read_pipeline(path, plugins.registries), plugins.registries).faults


def test_the_plugin_of_the_readme_encodes_pictures(tmp_path: Path, picture: Any) -> None:
    from polyjanus.core.manager import load_plugins
    from polyjanus.core.settings import BuildContext

    file = tmp_path / "brightness.py"
    file.write_text(blocks("python")[1], encoding="utf-8")
    plugins = load_plugins([file], third_party=False)
    assert not plugins.broken
    encoder = plugins.registries.encoders.get("brightness")(type="brightness").build(BuildContext(path="x"))
    features = encoder([encoder.prepare(picture)])
    assert features.values.shape == (1, 3) and features.lengths == (1,)
    assert len(blocks("python")[1].splitlines()) <= 40


def test_the_faults_that_the_readme_shows_are_what_is_said(tmp_path: Path, plugins: Any) -> None:
    from polyjanus.core.config.reading import read_pipeline
    from polyjanus.core.errors import ConfigError

    broken = blocks("yaml")[0].replace("type: siglip", "type: siglib").replace("batch: 64, lr:", "batch: 64, lrr:")
    path = tmp_path / "pipeline.yaml"
    path.write_text(broken, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_pipeline(path, plugins.registries)
    shown = next(block for block in README.split("```")[1::2] if block.startswith("\npipeline.yaml has"))
    said = str(caught.value).replace(str(path), "pipeline.yaml")
    for line in shown.strip().splitlines()[1:]:
        assert line.strip() in said


def test_links_of_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).exists(), target
