"""`polyjanus init`: for each kind of folder a pipeline that validates, whose data can be read, and that trains."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run in a folder of its own, with another home."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path: Path, picture: Any) -> Path:
    folder = tmp_path / "my data"
    folder.mkdir()
    picture.save(tmp_path / "picture.png")
    return folder


def _png(data: Path) -> bytes:
    return (data.parent / "picture.png").read_bytes()


def _captions(data: Path) -> None:
    for number in range(12):
        (data / f"{number}.png").write_bytes(_png(data))
        (data / f"{number}.txt").write_text(f"picture {number}")


def _listed(data: Path) -> None:
    _captions(data)
    (data / "metadata.csv").write_text("image,caption\n" + "".join(f"{n}.png,number {n}\n" for n in range(12)))


def _classes(data: Path) -> None:
    for name in ("cat", "big_dog"):
        (data / name).mkdir()
        for number in range(3):
            (data / name / f"{number}.jpg").write_bytes(_png(data))


def _llava(data: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}]
    (data / "photos").mkdir()
    (data / "photos" / "a.png").write_bytes(_png(data))
    records = [{"id": str(n), "image": "photos/a.png", "conversations": turns} for n in range(4)]
    (data / "vqa.json").write_text(json.dumps(records))


def _messages(data: Path) -> None:
    (data / "a.png").write_bytes(_png(data))
    part = {"type": "image", "path": "a.png"}
    row = {"messages": [{"role": "user", "content": "draw"}, {"role": "assistant", "content": [part]}]}
    (data / "rows.jsonl").write_text("\n".join(json.dumps(row) for _ in range(4)))


def _parquet(data: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    rows = [{"image": {"bytes": _png(data), "path": None}, "caption": f"number {n}"} for n in range(4)]
    (data / "deep").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), data / "deep" / "train-0.parquet")


def _shards(data: Path) -> None:
    for shard in range(2):
        with tarfile.open(data / f"{shard}.tar", "w") as tar:
            for number in range(3):
                for suffix, content in (("png", _png(data)), ("txt", b"words")):
                    member = tarfile.TarInfo(f"{number}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


def _sounds(data: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    for number in range(3):
        soundfile.write(data / f"{number}.wav", np.sin(np.arange(8000) / (5 + number)) / 3, 16000)
        (data / f"{number}.txt").write_text("a hum")


KINDS = {
    "captions": (_captions, "found 12 pictures with captions beside them", {"caption_folder"}, 12),
    "listed captions": (_listed, "found 12 pictures with captions in metadata.csv", {"caption_folder"}, 12),
    "classes": (_classes, "found 6 pictures in 2 classes", {"class_folder"}, 6),
    "llava": (_llava, "found 4 conversations in vqa.json", {"llava"}, 4),
    "messages": (_messages, "found 4 conversations of typed parts in rows.jsonl", {"jsonl"}, 4),
    "parquet": (_parquet, "found 4 rows in 1 Parquet file", {"parquet"}, 4),
    "shards": (_shards, "found 2 tar shards of pictures with words", {"webdataset"}, 6),
    "sounds": (_sounds, "found 3 sounds with captions beside them", {"caption_folder"}, 3),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_found_becomes_a_pipeline_that_validates_and_whose_rows_are_good(
    call: Call, data: Path, kind: str
) -> None:
    fill, found, types, rows = KINDS[kind]
    fill(data)
    status, out, err = call("init", "--data", "my data", "-o", "my.yaml")
    assert (status, err) == (0, "")
    assert found in out and "polyjanus data check my.yaml" in out and "polyjanus train my.yaml" in out
    written = YAML(typ="safe").load(Path("my.yaml"))
    assert {block["type"] for block in written["data"].values()} == types
    assert call("validate", "my.yaml", "--wiring")[0] == 0
    first, last = written["training"]["stages"][0], written["training"]["stages"][-1]
    assert set(last["mix"]) == set(written["data"]) and set(first["mix"]) <= set(written["data"])
    status, out, _ = call("data", "check", "my.yaml", "--json")
    report = json.loads(out)
    assert status == 0 and [source["rows"] for source in report["sources"]] == [rows] * len(report["sources"])
    assert not any(source["bad"] for source in report["sources"])
    assert all(source["items"] for source in report["sources"])
    made = {source["name"] for source in report["sources"] if any(".generate" in item for item in source["items"])}
    assert first["name"] == "unified" or set(first["mix"]) == made


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["captions", "llava", "sounds"])
def test_what_is_written_trains(call: Call, data: Path, kind: str) -> None:
    KINDS[kind][0](data)
    assert call("init", "--data", data)[0] == 0
    stages = YAML(typ="safe").load(Path("my data.yaml"))["training"]["stages"]
    short = [f"training.stages.{stage['name']}.{key}=2" for stage in stages for key in ("steps", "batch")]
    status, out, err = call("train", "my data.yaml", *short, "--device", "cpu", "--quiet")
    assert status == 0, err
    assert (Path(out.strip().splitlines()[-1]) / "checkpoints").is_dir()


def test_a_published_backbone_is_taken_as_it_is_and_left_frozen(call: Call, data: Path) -> None:
    _captions(data)
    assert call("init", "--data", data, "--backbone", "Qwen/Qwen3-0.6B", "-o", "my.yaml")[0] == 0
    written = YAML(typ="safe").load(Path("my.yaml"))
    assert written["backbone"] == {"type": "causal_lm", "pretrained": "Qwen/Qwen3-0.6B"}
    assert "text" not in written and "template" not in written
    assert not {"backbone", "text"} & set(written["training"]["stages"][-1]["train"])
    assert call("validate", "my.yaml")[0] == 0


def test_a_bids_folder_is_known_where_its_source_is_installed(call: Call, data: Path, plugins: Any) -> None:
    (data / "dataset_description.json").write_text("{}")
    (data / "sub-01").mkdir()
    status, out, err = call("init", "--data", data, "-o", "my.yaml")
    if "bids" in plugins.registries.sources and plugins.registries.sources.entry("bids").is_available:
        assert status == 0 and "a BIDS folder of 1 subjects" in out
        assert call("validate", "my.yaml", "--wiring")[0] == 0
    else:
        assert status == 2 and "is known" in err


def test_paths_below_the_file_are_relative_and_others_absolute(call: Call, data: Path) -> None:
    _captions(data)
    call("init", "--data", data, "-o", "near.yaml")
    Path("elsewhere").mkdir()
    call("init", "--data", data, "-o", "elsewhere/far.yaml")
    paths = [
        {block["path"] for block in YAML(typ="safe").load(Path(name))["data"].values()}
        for name in ("near.yaml", "elsewhere/far.yaml")
    ]
    assert paths == [{"./my data"}, {str(data)}]


def test_nothing_is_overwritten_and_what_is_not_known_is_said(call: Call, data: Path) -> None:
    (data / "a.docx").write_text("x")
    status, out, err = call("init", "--data", data)
    assert (status, out) == (2, "") and "nothing in" in err and "1 of .docx" in err
    _captions(data)
    Path("my data.yaml").write_text("mine")
    status, _, err = call("init", "--data", data)
    assert status == 2 and "exists" in err and Path("my data.yaml").read_text() == "mine"
