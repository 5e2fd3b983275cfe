"""`polyjanus sweep`: same seeds for every arm, differences paired by seed, nothing done twice."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyjanus.core.cli import train
from polyjanus.core.errors import UsageError
from polyjanus.core.sweeping import Arm, arms_of, difference, lines_of, page, split_choices

Call = Callable[..., tuple[int, str, str]]
STAGES = "training.stages=[{name: s, train: [backbone, text], mix: {captions: 1}, steps: 2, batch: 2, lr: 1e-3}]"
WIDTHS = "backbone.architecture.intermediate_size=32,64"


@pytest.fixture
def sweep(call: Call, rows: Any, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    yaml = rows([{"text": f"line {number}"} for number in range(12)])
    home = ["data.captions.validation=0.25", STAGES, "--into", tmp_path / "s", "--quiet", "--device", "cpu"]
    return lambda *more: call("sweep", yaml, *home, *more)


def test_every_arm_is_trained_with_every_seed_and_compared_by_seed(sweep: Any, tmp_path: Path) -> None:
    status, out, _ = sweep(WIDTHS, "--seeds", "0,1", "--json")
    report = json.loads(out)
    assert status == 0 and report["seeds"] == [0, 1]
    (losses,) = report["results"].values()
    assert len(losses) == 2 and all(len(set(values)) == 2 for values in losses.values())
    assert (tmp_path / "s" / "sweep.html").read_text().count("<circle") == 4
    logs = sorted((tmp_path / "s").glob("*/seed-*/log.jsonl"))
    assert len(logs) == 4


def test_what_was_done_is_not_done_again_and_what_was_stopped_goes_on(sweep: Any, tmp_path: Path) -> None:
    _, first, _ = sweep(WIDTHS, "--seeds", "0", "--json")
    (tmp_path / "s" / WIDTHS.replace(",64", "") / "seed-0" / "result.json").unlink()
    weights = {file: file.stat().st_mtime_ns for file in (tmp_path / "s").rglob("*.safetensors")}
    _, again, told = sweep(WIDTHS, "--seeds", "0", "--json")
    assert again == first and told.count("seed 0: ") == 1
    assert weights == {file: file.stat().st_mtime_ns for file in (tmp_path / "s").rglob("*.safetensors")}


def test_a_folder_of_other_settings_is_not_taken_for_this_one(sweep: Any) -> None:
    assert sweep(WIDTHS, "--seeds", "0")[0] == 0
    status, _, told = sweep(WIDTHS, "text.loss_weight=0.5", "--seeds", "0")
    assert status == 2 and "made with other settings: text.loss_weight was 1.0, now 0.5" in told
    assert told.count("made with other settings") == 2, "both arms are told at once"


def test_nothing_is_trained_where_an_arm_is_wrong_and_all_faults_are_told(sweep: Any, tmp_path: Path) -> None:
    heads = "image.generate.head=mlp,mpl"
    status, _, told = sweep(heads, "image.generate.adaptor=mlp,resampler", "--seeds", "0")
    assert status == 2 and "did you mean 'mlp'?" in told and "changes how many positions" in told
    status, _, told = sweep("data.captions.validation=0,0.5", "--seeds", "0")
    assert status == 2 and "data.captions.validation=0: there is nothing to compare by" in told
    assert not (tmp_path / "s").exists()


def test_an_arm_that_fails_is_named_and_the_others_go_on(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train.train

    def fails(session: Any, yaml: Any, overrides: Any, **more: Any) -> Any:
        if any(word.endswith("=32") for word in overrides):
            raise ZeroDivisionError("of a plugin")
        return whole(session, yaml, overrides, **more)

    monkeypatch.setattr(train, "train", fails)
    status, out, told = sweep(WIDTHS, "--seeds", "0")
    assert status == 1 and "size=32 failed: ZeroDivisionError: of a plugin" in told
    assert "size=64: " in out and "held out" in out and "sweep.html" in out


def test_a_component_path_is_a_choice(sweep: Any) -> None:
    status, out, _ = sweep("image.generate.head=linear,mlp", "--seeds", "0")
    assert status == 0 and "image.generate.head=mlp" in out and "one seed has no interval" in out


def test_choices_are_split_at_commas_outside_of_brackets() -> None:
    assert split_choices("{type: mlp, depth: 2},linear,[1, 2]") == ["{type: mlp, depth: 2}", "linear", "[1, 2]"]
    arms = arms_of([Path("a.yaml"), Path("b.yaml")], ["x=1,2", "y=3"])
    assert arms[0] == Arm("a, x=1", Path("a.yaml"), ("y=3", "x=1"))
    assert [arm.name for arm in arms] == ["a, x=1", "a, x=2", "b, x=1", "b, x=2"]


@pytest.mark.parametrize("settings", [[], ["x=1"], ["x=1,1"]])
def test_one_arm_is_no_comparison(settings: list[str]) -> None:
    with pytest.raises(UsageError, match="two arms or more"):
        arms_of([Path("a.yaml")], settings)


def test_intervals_are_students_over_pairs() -> None:
    found = difference([1.0, 2.0, 3.0], [2.0, 3.5, 4.0])  # differences 1, 1.5, 1
    assert found.mean == pytest.approx(7 / 6)
    assert found.high - found.mean == pytest.approx(4.303 * (1 / 12) ** 0.5 / 3**0.5, rel=1e-3)
    assert found.is_clear
    assert not difference([1.0, 2.0], [2.0, 1.0]).is_clear
    assert not difference([1.0], [2.0]).is_clear
    assert not difference([1.0, 2.0], [2.0, 3.0]).is_clear, "equal differences say nothing of the spread"


def test_a_table_and_a_page_have_every_arm() -> None:
    results = {"score": {"<a>": [0.5, 0.6], "b": [0.7, 0.9]}}
    assert len(lines_of(results)) == 3 and "+25.0% [" in lines_of(results)[2]
    assert "55.0%" in lines_of(results)[1]
    assert "0.5000  (1 seed)" in lines_of({"held out, x": {"a": [0.5]}})[1]
    text = page("title", results, ["a note"])
    assert "&lt;a&gt;" in text and "<a>" not in text and "http" not in text
