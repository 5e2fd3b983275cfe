"""`polyjanus convert` and `polyjanus verify`, and drawing from a foreign folder, on the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from polyjanus.core.cli import main


def test_convert_goes_round_all_formats_and_loses_nothing(small_folder: Path, tmp_path: Path) -> None:
    steps = [small_folder]
    for form in ("deepseek", "polyjanus", "transformers"):
        steps.append(tmp_path / form)
        assert main(["convert", str(steps[-2]), str(steps[-1]), "--to", form]) == 0
    first, last = (load_file(folder / "model.safetensors") for folder in (small_folder, steps[-1]))
    assert set(first) == set(last)
    assert all(bool((first[name] == last[name]).all()) for name in first)


def test_convert_stores_in_another_dtype(small_folder: Path, tmp_path: Path) -> None:
    assert main(["convert", str(small_folder), str(tmp_path / "x"), "--to", "deepseek", "--dtype", "bfloat16"]) == 0
    stored = load_file(tmp_path / "x" / "model.safetensors")
    assert {str(tensor.dtype) for tensor in stored.values()} == {"torch.bfloat16"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "deepsek"], "no format 'deepsek'; did you mean 'deepseek'?"),
        (["--to", "deepseek"], "is there already"),
    ],
)
def test_convert_says_what_is_wrong(
    small_folder: Path, tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(small_folder), str(tmp_path), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_nothing_is_left_of_a_conversion_that_fails(make_tiny: Any, tmp_path: Path) -> None:
    source = make_tiny().save(tmp_path / "tiny")
    assert main(["convert", str(source), str(tmp_path / "out"), "--to", "deepseek"]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny"]


def test_run_draws_from_a_foreign_folder(small_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "cat.png"
    assert main(["run", str(small_folder), "a cat", "--output", "image", "-o", str(out)]) == 0
    assert out.is_file()


def test_verify_says_that_other_weights_are_not_the_published_ones(
    small_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(small_folder), "--device", "cpu", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["format"], report["device"], report["dtype"]) == ("transformers", "cpu", "float32")
    assert {check["verdict"] for check in report["checks"]} == {"not applicable"}
    assert all("not its weights: hidden_size is 32, not 2048" in check["detail"] for check in report["checks"])


def test_verify_compares_where_the_architecture_is_the_published_one(
    small_folder: Path,
    picture: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from polyjanus.plugins.formats import published

    monkeypatch.setattr(published, "PRO_1B", {"hidden_size": 32})
    monkeypatch.setattr(published, "CODES", tuple(range(8)))
    picture.save(tmp_path / "stars.png")
    arguments = ["verify", str(small_folder), "--device", "cpu", "--json", "--file", str(tmp_path / "stars.png")]
    assert main(arguments) == 1  # every byte is an id here, so the prompt is longer than published
    length, codes, sentence = json.loads(capsys.readouterr().out)["checks"]
    assert (length["verdict"], length["detail"]) == ("fail", f"{len(published.PORTRAIT) + 2}, published 17")
    assert codes["verdict"] == "not applicable"
    assert "of 8 published codes are equal; they were published for a CUDA GPU" in codes["detail"]
    assert sentence["verdict"] == "not applicable"


def test_verify_passes_on_what_it_expects(
    small_folder: Path, small_pipeline: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from polyjanus.plugins.formats import published

    sequence = published._compile(small_pipeline, "", [published.PORTRAIT])
    codes = published.greedy_codes(small_pipeline, sequence)
    monkeypatch.setattr(published, "PRO_1B", {"hidden_size": 32})
    monkeypatch.setattr(published, "CODES", tuple(codes))
    monkeypatch.setattr(published, "PORTRAIT_LENGTH", len(sequence) + 1)
    assert main(["verify", str(small_folder), "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("pass: prompt length")
    assert lines[2] == "pass: greedy codes: the first 16 of 16 published codes are equal"
    assert "download https://" in lines[3]
