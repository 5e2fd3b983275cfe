"""A plugin that was just written works at once: short, well formed, true to its contracts, trained and run."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from polyjanus.core.cli.main import main
from polyjanus.core.errors import UsageError
from polyjanus.core.manager import load_plugins
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.scaffold.writing import check_name, filled, write_plugin
from polyjanus.core.testing import cases_of, check_plugin
from polyjanus.core.testing.running import run_cases

BOTH = ("understand", "generate")
LONGEST = {("understand",): 40, ("generate",): 40, BOTH: 90}
"""Lines that a plugin of these pathways may have, settings, encoder, codec and hook together."""
KINDS = {"grid": LONGEST, "sequence": {("understand",): 60, ("generate",): 75, BOTH: 90}}
EVERY = [pytest.param(kind, pathways, id=f"{kind}-{','.join(pathways)}") for kind in KINDS for pathways in LONGEST]
SUFFIX = {"grid": ".npy", "sequence": ".heat"}


def ruff(*arguments: object) -> str:
    program = Path(sys.executable).with_name("ruff")
    found = str(program) if program.exists() else shutil.which("ruff")
    if found is None:
        pytest.skip("ruff is not installed")
    done = subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.parametrize(("kind", "pathways"), EVERY)
def test_one_file_is_short_and_formatted(tmp_path: Path, kind: str, pathways: tuple[str, ...]) -> None:
    write_plugin("heat_map", pathways, tmp_path, is_single=True, kind=kind)
    assert len((tmp_path / "heat_map.py").read_text(encoding="utf-8").splitlines()) <= KINDS[kind][pathways]
    assert not ruff("format", "--diff", "--isolated", "--line-length", 120, tmp_path)
    assert not ruff("check", "--isolated", "--line-length", 120, "--select", "E,F,B,UP", tmp_path)


@pytest.mark.parametrize(("kind", "pathways"), EVERY)
def test_a_package_is_formatted_and_has_what_its_pathways_need(
    tmp_path: Path, kind: str, pathways: tuple[str, ...]
) -> None:
    written = {path.name for path in write_plugin("heat_map", pathways, tmp_path, is_single=False, kind=kind)}
    assert {"pyproject.toml", "README.md", "heat_map.yaml", "make_data.py", "media.py"} <= written
    assert ("encoder.py" in written, "codec.py" in written) == ("understand" in pathways, "generate" in pathways)
    assert not ruff("format", "--diff", "--isolated", "--line-length", 120, tmp_path)
    assert not ruff("check", "--isolated", "--line-length", 120, "--select", "E,F,I,B,UP,D1,ANN", "--ignore", "D107",
                    "--ignore", "ANN401", tmp_path / "polyjanus-heat-map" / "polyjanus_heat_map")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_no_template_leaves_a_mark_or_a_name_behind(tmp_path: Path, kind: str) -> None:
    for is_single in (True, False):
        for path in write_plugin("heat_map", BOTH, tmp_path, is_single=is_single, kind=kind):
            text = path.read_text(encoding="utf-8")
            assert "#: " not in text and "thermal" not in text.lower()
            assert text.count("$") == text.count("$schema")
            if path.suffix == ".py":
                ast.parse(text)


def make(folder: Path, pathways: tuple[str, ...], kind: str) -> tuple[Path, Any]:
    """Write a one-file plugin and its toy data; return its YAML, and the plugins with it."""
    write_plugin("heat", pathways, folder, is_single=True, kind=kind)
    subprocess.run([sys.executable, folder / "make_heat.py"], check=True, capture_output=True)
    return folder / "heat.yaml", load_plugins([folder / "heat.py"], third_party=False)


class Silent:
    def stage(self, stage: Any, done: int) -> None: ...

    def step(self, record: Any) -> None: ...


@pytest.mark.parametrize(("kind", "pathways"), EVERY)
def test_one_file_trains_and_answers(tmp_path: Path, kind: str, pathways: tuple[str, ...]) -> None:
    from polyjanus.core.config.reading import read_pipeline
    from polyjanus.core.training.loop import Training

    path, plugins = make(tmp_path, pathways, kind)
    config = read_pipeline(path, plugins.registries).config
    assert config.training
    short = [f"training.stages.{stage.name}.steps=3" for stage in config.training.stages]
    pipeline = Pipeline.from_yaml(path, short, plugins=plugins, device="cpu")
    before = {name: value.clone() for name, value in pipeline.model.named_parameters()}
    (tmp_path / "run").mkdir()
    Training(pipeline, tmp_path / "run", tmp_path, Silent()).run()
    moved = {name for name, value in pipeline.model.named_parameters() if not torch.equal(value, before[name])}
    assert {f"heat.{pathway}" for pathway in pathways} <= {".".join(name.split(".")[:2]) for name in moved}
    if "understand" in pathways:
        part = {"type": "heat", "path": str((tmp_path / "data" / "0").with_suffix(SUFFIX[kind]))}
        assert isinstance(pipeline.run([part, "Where?"], max_tokens=4).text, str)
    if "generate" in pathways:
        (made,) = pipeline.run("Make it warm: left.", ["heat"]).media("heat")
        assert made.values.shape == (1, 8, 8) if kind == "grid" else 0 < len(made.values) <= 24


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_single", [True, False], ids=["file", "package"])
def test_a_new_plugin_keeps_its_contracts(
    tmp_path: Path, is_single: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"warmth_{kind}"  # a package that was imported is not imported again
    home = tmp_path / f"polyjanus-warmth-{kind}"
    write_plugin(name, BOTH, tmp_path, is_single=is_single, kind=kind)
    monkeypatch.syspath_prepend(home)
    monkeypatch.setenv("PYTHONPATH", str(home))
    results = check_plugin(tmp_path / f"{name}.py" if is_single else f"polyjanus_{name}")
    assert [result for result in results if result.outcome == "failed"] == []
    assert {result.kind for result in results} == {"plugin", "modality", "encoder", "codec"}
    if kind == "sequence":
        ragged = {result.check: result.outcome for result in results if "different_lengths" in result.check}
        assert ragged == dict.fromkeys(
            ("items_of_different_lengths_go_together", "codes_of_different_lengths_go_together"), "passed"
        )


def test_items_that_are_padded_are_caught(tmp_path: Path) -> None:
    write_plugin("tune", BOTH, tmp_path, is_single=True, kind="sequence")
    file = tmp_path / "tune.py"
    padded = """return [Lines(values) for values in codes.squeeze(-1).cpu().numpy()]

            def encode(self, items):
                rows = torch.nn.utils.rnn.pad_sequence([item["values"] for item in items], batch_first=True)
                return list(rows.unsqueeze(-1))"""
    whole = file.read_text(encoding="utf-8")
    mine = next(line.strip() for line in whole.splitlines() if "return [Lines" in line and "codes" in line)
    file.write_text(whole.replace(mine, padded), encoding="utf-8")
    cases = [case for case in cases_of(file) if case.check.name == "codes_of_different_lengths_go_together"]
    (result,) = run_cases(cases)
    assert result.outcome == "failed" and "expected [12, 1, 12] codes, as num_codes says" in result.message


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("two words", "cannot be the name"),
        ("../evil", "cannot be the name"),
        ("Thermal", "cannot be the name"),
        ("9lives", "cannot be the name"),
        ("_hidden", "cannot be the name"),
        ("wärme", "cannot be the name"),
        ("", "cannot be the name"),
        ("class", "means something else"),
        ("text", "means something else"),
        ("image", "'image' is there already: polyjanus.encoders.image"),
        ("array", "'array' is there already"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_with_a_hint(plugins: Any, name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        check_name(name, plugins.registries)
    assert caught.value.hint


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "heat.yaml").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=r"heat\.yaml is there already"):
        write_plugin("heat", BOTH, tmp_path, is_single=True)
    assert [path.name for path in tmp_path.iterdir()] == ["heat.yaml"]


def test_the_command_writes_what_it_lists_and_says_what_to_do_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--no-plugins", "plugins", "new", "heat", "--into", str(tmp_path), "--pathways", "understand"]) == 0
    out = capsys.readouterr().out
    files = [Path(line) for line in out.split("\n\n")[0].splitlines()]
    assert all(path.is_file() for path in files) and len(files) >= 8
    assert "pip install -e ." in out and "polyjanus train heat.yaml" in out and "--output" not in out
    assert main(["--no-plugins", "plugins", "new", "heat", "--pathways", "undrstand"]) == 2
    assert "did you mean 'understand'?" in capsys.readouterr().err
    assert main(["--no-plugins", "plugins", "new", "tune", "--kind", "sequence", "--into", str(tmp_path)]) == 0
    assert '--tune data/0.tune "How does it go?"' in capsys.readouterr().out
    assert main(["--no-plugins", "plugins", "new", "heat", "--kind", "sequences"]) == 2
    assert "did you mean 'sequence'?" in capsys.readouterr().err


def test_lines_of_a_template_follow_the_pathways() -> None:
    words = {"name": "a", "Name": "A", "Title": "A"}
    text = {pathways: filled("single.py", words, pathways) for pathways in LONGEST}
    assert "EncoderConfig\n" in text[("understand",)] and "CodecConfig" not in text[("understand",)]
    assert "CodecConfig, Ints" in text[("generate",)] and "EncoderConfig" not in text[("generate",)]
    assert "CodecConfig, EncoderConfig, Ints" in text[BOTH]
