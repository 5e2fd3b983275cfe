"""`polyjanus data`: everything is read once before a run, and one row is shown as the model meets it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., tuple[int, str, str]]


def _drawn(words: str = "a cat", path: str = "a.png") -> dict[str, Any]:
    said = [{"role": "user", "content": words}, {"role": "assistant", "content": [{"type": "image", "path": path}]}]
    return {"messages": said}


def test_a_good_data_set_is_counted(call: Call, rows: Any) -> None:
    yaml = rows([_drawn(), _drawn("a dog and more"), {"text": "only words"}, _drawn()])
    status, out, err = call("data", "check", yaml, "data.captions.validation=0.25")
    assert (status, err) == (0, "")
    assert "captions (jsonl): 4 rows, 1 held out" in out and "bad rows" not in out
    status, out, _ = call("data", "check", yaml, "--json")
    report = json.loads(out)
    (source,) = report["sources"]
    assert report["usable"] and not source["bad"] and source["rows"] == 4
    assert source["items"] == {"image.generate": 3}
    assert source["learned"]["image.generate"] == 3 * 4
    assert source["positions"]["min"] <= source["positions"]["median"] <= source["positions"]["max"]


def test_lengths_are_those_of_a_run_and_what_is_too_long_is_counted(call: Call, rows: Any, make_tiny: Any) -> None:
    lines = [_drawn("a"), _drawn("a longer one " * 4), {"text": "x" * 100}]
    yaml = rows(lines)
    longest = len(make_tiny().compile([{"role": "raw", "content": "x" * 100}], is_prompt=False))
    _, out, _ = call("data", "check", yaml, "--json", "training.max_tokens=64")
    (source,) = json.loads(out)["sources"]
    assert source["positions"]["max"] == longest
    assert source["over"] == {"rows": 2, "items": 1, "positions": source["over"]["positions"]}
    assert [bad["row"] for bad in source["bad"]] == [1]  # its picture, all that it teaches, would be dropped
    assert re.search(
        r"has \d+ positions, training.max_tokens is 64: .*raise training.max_tokens",
        source["bad"][0]["reason"],
        re.DOTALL,
    )


def test_bad_rows_are_named_with_line_and_reason_and_too_many_are_status_2(call: Call, rows: Any) -> None:
    yaml = rows([_drawn(), "{", _drawn(path="none.png"), _drawn()])
    status, out, err = call("data", "check", yaml)
    assert status == 0 and "bad rows (3 allowed): 2" in out
    assert "captions.jsonl:2: is no JSON" in out and "captions.jsonl:3: " in out and "none.png" in out
    status, out, err = call("data", "check", yaml, "training.bad_rows.rate=0.0")
    assert status == 2 and "bad rows (0 allowed): 2" in out and "not usable: captions" in err


@pytest.mark.parametrize("command", [["data", "check"], ["train", "--device", "cpu"]])
def test_d9_an_empty_data_set_is_status_2_before_a_model_is_built(
    call: Call, rows: Any, command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("polyjanus.core.pipeline.Pipeline.from_config", lambda *_, **__: pytest.fail("built"))
    yaml = rows([])
    status, out, err = call(*command, yaml)
    assert status == 2 and "captions" in out + err and "has no rows" in out + err
    yaml.with_name("captions.jsonl").unlink()
    status, out, err = call(*command, yaml)
    assert status == 2 and "there is no file" in out + err
    assert not (tmp_path / "runs").exists()


def test_a_batch_larger_than_its_data_set_is_said(call: Call, rows: Any) -> None:
    _, out, _ = call("data", "check", rows([_drawn(), _drawn()]), "--json")
    assert json.loads(out)["notes"] == [
        "a step of stage 'all' takes 4 rows of 'captions', which has 2: rows come more than once in a step"
    ]


def test_no_weights_are_read_and_no_network_is_asked(call: Call, rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyjanus.core.model.building.Parts.load_pretrained", lambda *_: pytest.fail("weights"))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("network"))
    assert call("data", "check", rows([_drawn()]))[0] == 0


def test_places_that_come_twice_are_named(call: Call, tiny_yaml: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    pq.write_table(pa.Table.from_pylist([{"messages": said}]), tmp_path / "a.parquet")
    block = "data.captions={type: parquet, path: [a.parquet, ./a.parquet]}"
    _, out, _ = call("data", "check", tiny_yaml, block, "--json")
    assert json.loads(out)["sources"][0]["duplicates"] == [f"{tmp_path / 'a.parquet'}: row 0"]


def test_a_row_is_shown_with_its_spans_and_its_mask(call: Call, rows: Any, make_tiny: Any) -> None:
    yaml = rows(["", _drawn("a cat"), _drawn("x" * 60)])
    status, out, _ = call("data", "show", yaml, "--row", 0)
    assert status == 0
    assert "captions.jsonl:2" in out and "user: 'a cat'" in out and "[image.generate]" in out
    _, out, _ = call("data", "show", yaml, "--source", "captions", "--row", 0, "--json")
    shown = json.loads(out)
    assert [run["start"] for run in shown["runs"][1:]] == [run["end"] for run in shown["runs"][:-1]]
    assert shown["runs"][-1]["end"] == shown["positions"]
    learned = [run for run in shown["runs"] if run["learned"]]
    assert [run.get("text", run.get("modality")) for run in learned] == ["<begin_of_image>", "image", "<eos>"]
    unlearned = next(run for run in shown["runs"] if run["kind"] == "text")
    assert "a cat" in unlearned["text"] and not unlearned["learned"]
    _, out, _ = call("data", "show", yaml, "--row", 1, "training.max_tokens=32")
    assert "dropped: image (generate, 4 positions)" in out and "bad: the row has " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--row", 5], "'captions' has 2 rows; the last is --row 1"),
        (["--source", "caption", "--row", 0], "no data set 'caption'; did you mean 'captions'?"),
        (["--row", 1], "captions.jsonl:2: is no JSON"),
        ([], "--row"),
    ],
)
def test_what_cannot_be_shown_is_one_message(call: Call, rows: Any, arguments: list[Any], message: str) -> None:
    status, out, err = call("data", "show", rows([_drawn(), "{"]), *arguments)
    assert status == 2 and out == "" and message in err
