"""`polyjanus precompute`: what it keeps, what it says, and that it goes on where it stopped."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from polyjanus.core.cli.main import INTERRUPTED, main
from polyjanus.core.data.jsonl import JsonLines
from polyjanus.core.keeping.precomputing import Precomputing

CODEC, ENCODER = "image.generate.codec", "image.understand.encoder"
DOCS = Path(__file__).parents[3] / "docs" / "data.md"


def test_codes_are_kept_once_and_features_when_asked_for(work: Any) -> None:
    report = work.precompute()
    assert [each["path"] for each in report["components"]] == [CODEC] and work.of(report) == (4, 0, 4)
    report = work.precompute("--features")
    assert work.of(report) == (4, 4, 0) and work.of(report, ENCODER) == (4, 0, 4)
    assert report["complete"] and not report["left_out"]
    (source,) = report["sources"]
    assert (source["rows"], source["read"], source["unstable"], source["bad"]) == (8, 8, 0, [])
    kept = {each["path"]: each["bytes"] for each in report["components"]}
    assert sum(kept.values()) == sum(path.stat().st_size for path in work.store.rglob("*.safetensors"))


def test_items_that_are_there_twice_are_computed_once(work: Any) -> None:
    for number in (3, 5, 7):
        (work.home / f"{number}.png").write_bytes((work.home / "1.png").read_bytes())
    assert work.of(work.precompute("--batch", "2")) == (4, 3, 1)


def test_one_changed_pixel_is_computed_anew_and_the_rest_is_not(work: Any) -> None:
    from PIL import Image

    work.precompute()
    picture = Image.open(work.home / "1.png").convert("RGB")
    picture.putpixel((0, 0), (1, 2, 3))
    picture.save(work.home / "1.png")
    assert work.of(work.precompute()) == (4, 3, 1)
    assert work.of(work.precompute("modalities.image.max_pixels=100000")) == (4, 0, 4)


def test_an_interruption_keeps_what_was_computed_and_the_next_call_goes_on(
    work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Precomputing.run

    def interrupted(self: Precomputing, *arguments: Any) -> Any:
        for index in run(self, *arguments):
            if index == 3:
                os.kill(os.getpid(), signal.SIGINT)
            yield index

    monkeypatch.setattr(Precomputing, "run", interrupted)
    report = work.precompute(status=INTERRUPTED)
    assert not report["complete"] and work.of(report) == (2, 0, 2) and "goes on" in work.err
    monkeypatch.undo()
    monkeypatch.setattr("polyjanus.core.manager.load_plugins", lambda *_, **__: work.plugins)
    assert work.of(work.precompute()) == (4, 2, 2)


def test_a_process_that_dies_leaves_whole_shards(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyjanus.core.keeping.targets.SHARD_ITEMS", 1)
    monkeypatch.setattr(Precomputing, "write", lambda self: None)  # as if it were killed: nothing is written at the end
    work.precompute("--batch", "1", "--limit", "6")
    monkeypatch.undo()
    monkeypatch.setattr("polyjanus.core.manager.load_plugins", lambda *_, **__: work.plugins)
    assert len(list(work.store.rglob("*.safetensors"))) == 3 and work.of(work.precompute()) == (4, 3, 1)


def test_damage_is_computed_anew_and_told_of(work: Any) -> None:
    before = work.train("before")
    work.precompute()
    (shard,) = work.store.rglob("*.safetensors")
    whole = shard.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    start, _ = json.loads(whole[8 : 8 + header])["values"]["data_offsets"]
    place = 8 + header + start
    shard.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.warns(UserWarning, match="computed anew"):
        assert work.train("after") == before
    report = work.precompute()
    assert work.of(report) == (4, 3, 1) and report["components"][0]["damaged"] == 1
    assert shard.name in work.err and "computed anew" in work.err
    assert work.of(work.precompute()) == (4, 4, 0) and not work.err
    assert work.train("again") == before
    shard.write_bytes(whole[:10] + b"?" + whole[11:])
    report = work.precompute()
    assert work.of(report)[1:] == (1, 3) and report["components"][0]["damaged"] == 1 and not shard.exists()


def test_media_that_differ_each_time_are_said_and_not_kept(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    row = JsonLines.row
    monkeypatch.setattr(JsonLines, "row", lambda self, index, noise: _augmented(row(self, index, noise), noise))
    report = work.precompute("--features")
    assert work.of(report) == (4, 0, 0) and report["sources"][0]["unstable"] == 8
    assert [each["unstable"] for each in report["components"]] == [4, 4] and not list(work.store.rglob("*.safe*"))
    assert main(["precompute", str(work.file)]) == 0
    assert "others each time" in work.capsys.readouterr().out


def _augmented(row: Any, noise: Any) -> Any:
    import numpy as np

    parts = [part for message in row["messages"] for part in message["content"] if isinstance(part, dict)]
    for part in parts:
        del part["path"]
        part["image"] = noise.integers(0, 255, (16, 16, 3), dtype=np.uint8)
    return row


def test_a_codec_that_a_stage_trains_is_refused_with_a_way_out(work: Any) -> None:
    first = "{name: codec, objective: reconstruct, train: [image.generate.codec], mix: {captions: 1}, steps: 1,"
    first += " batch: 2, lr: 1e-3}"
    text = work.file.read_text()
    work.file.write_text(text.replace("stages: [", f"stages: [{first},"))
    assert work.precompute(status=2) == {}
    assert f"nothing to keep: {CODEC}: stage 'codec' trains it" in work.err and "training.init_from" in work.err
    report = work.precompute("--features")
    assert [each["path"] for each in report["components"]] == [ENCODER]
    (left,) = report["left_out"]
    assert left["path"] == CODEC and left["reason"] == "stage 'codec' trains it"
    stages = text.replace('"*.adaptor"', "image")
    work.file.write_text(stages)
    assert work.precompute("--features", status=2) == {} and f"{ENCODER}: stage 'all' trains it" in work.err


def test_a_codec_that_was_trained_before_is_kept_with_its_weights(work: Any) -> None:
    import torch

    def move(pipeline: Any) -> None:
        with torch.no_grad():
            next(pipeline.parts.modules[CODEC].parameters()).add_(0.1)

    pipeline = work.pipeline()
    move(pipeline)
    saved = pipeline.save(work.home / "trained")
    start = f"training.init_from={{{CODEC}: {saved}}}"
    before = work.train("before", start)
    assert work.of(work.precompute()) == (4, 0, 4) and work.of(work.precompute(start)) == (4, 0, 4)
    assert work.train("after", start) == before != work.train("other")


def test_bad_rows_are_said_as_data_check_says_them(work: Any) -> None:
    (work.home / "1.png").write_bytes(b"no picture")
    (work.home / "3.png").unlink()
    report = work.precompute("training.bad_rows.minimum=1", status=2)
    assert main(["data", "check", str(work.file), "training.bad_rows.minimum=1", "--json"]) == 2
    (checked,) = json.loads(work.capsys.readouterr().out)["sources"]
    (source,) = report["sources"]
    assert source["bad"] == checked["bad"] and len(source["bad"]) == 2 and "not usable: captions" in work.err
    assert work.of(report) == (2, 0, 2)
    report = work.precompute("data.captions.path=./nothing.jsonl", status=2)
    assert "nothing.jsonl" in report["sources"][0]["error"]


def test_a_report_for_people_names_what_was_kept(work: Any) -> None:
    assert main(["precompute", str(work.file), "--features"]) == 0
    out, err = work.capsys.readouterr()
    assert f"{CODEC}: 4 items, 0 kept before, 4 computed" in out and str(work.store) in out and not err


def test_every_key_of_the_report_is_documented(work: Any) -> None:
    text = DOCS.read_text(encoding="utf-8")
    report = work.precompute("--features")
    keys = [*report, *(f"sources[].{key}" for key in report["sources"][0])]
    keys += [f"components[].{key}" for key in report["components"][0]]
    section = text[text.index("## precompute") : text.index("## init")]
    for key in keys:
        plain = key.rpartition(".")[2]
        assert re.search(rf"`({re.escape(key)}|{plain})[`\[]", section), key
