"""Tar shards: samples at any time by an index that is made once; what is damaged is one bad row."""

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from polyjanus.core.errors import DataError
from polyjanus.plugins.sources import shards


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def _shard(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def _samples(first: int, count: int) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for number in range(first, first + count):
        files |= {
            f"d/{number:03}.jpg": f"picture {number}".encode() * 99,
            f"d/{number:03}.txt": f"text {number}".encode(),
        }
    return files


def test_samples_of_all_shards_are_read_in_any_order(make: Any, said: Any, tmp_path: Path) -> None:
    for number in (0, 1, 2):
        _shard(tmp_path / f"s-{number:03}.tar", _samples(4 * number, 4))
    source = make("webdataset", path="s-{000..002}.tar", task="image.generate")
    assert len(source) == 12
    for row in (11, 0, 5, 4):
        picture = f"picture {row}".encode() * 99
        assert said(source, row) == [[f"text {row}"], [{"type": "image", "path": picture}]]
    assert source.place(5) == f"{tmp_path / 's-001.tar'}: d/005"


def test_an_index_is_made_once_and_again_when_the_shard_changes(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = _shard(tmp_path / "s.tar", _samples(0, 3))
    scanned: list[Path] = []
    scan = shards._scan
    monkeypatch.setattr(shards, "_scan", lambda path, size: (scanned.append(path), scan(path, size))[1])
    for _ in range(3):
        assert len(make("webdataset", path="s.tar", task="generate")) == 3
    assert len(scanned) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "s.tar"]  # nothing beside what is the user's
    _shard(shard, _samples(0, 5))
    assert len(make("webdataset", path="s.tar", task="generate", cache="mine")) == 5
    assert len(scanned) == 2 and len(list((tmp_path / "mine").iterdir())) == 1
    next((tmp_path / "mine").iterdir()).write_bytes(b"damaged")
    assert len(make("webdataset", path="s.tar", task="generate", cache="mine")) == 5


def test_messages_in_a_json_name_the_files_of_their_sample(make: Any, said: Any, tmp_path: Path) -> None:
    content = [{"type": "image", "path": "0.png"}, "and", {"type": "image", "path": "1.png"}]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "yes"}]
    lost = [{"role": "user", "content": [{"type": "image", "path": "2.png"}]}]
    files = {"a.0.png": b"zero", "a.json": json.dumps({"messages": messages}).encode(), "a.1.png": b"one"}
    _shard(tmp_path / "s.tar", {**files, "b.json": json.dumps({"messages": lost}).encode()})
    source = make("webdataset", path="s.tar")
    assert [part if isinstance(part, str) else part["path"] for part in said(source, 0)[0]] == [b"zero", "and", b"one"]
    with pytest.raises(DataError, match="names a file '2.png'; the sample has json"):
        said(source, 1)


def test_columns_say_what_suffixes_are(make: Any, said: Any, tmp_path: Path) -> None:
    _shard(tmp_path / "s.tar", {"a.flac": b"sound", "a.transcript": b"words", "a.q": b"what?", "a.json": b'{"x": 1}'})
    columns = {"flac": "audio", "transcript": "text", "q": "prompt"}
    source = make("webdataset", path="s.tar", columns=columns, task="audio.understand")
    assert said(source, 0) == [[{"type": "audio", "path": b"sound"}, "what?"], ["words"]]
    with pytest.raises(DataError, match="'task: understand' or 'task: generate'|has no 'image'"):
        said(make("webdataset", path="s.tar"), 0)


@pytest.mark.parametrize("damage", ["cut in a file", "cut in a header", "overwritten header", "no tar", "missing"])
def test_d7_a_damaged_shard_is_one_bad_row_and_all_else_is_read(
    make: Any, said: Any, tmp_path: Path, damage: str
) -> None:
    _shard(tmp_path / "s-0.tar", _samples(0, 3))
    bad = _shard(tmp_path / "s-1.tar", _samples(3, 3))
    whole = bad.read_bytes()
    with tarfile.open(bad) as tar:
        third = tar.getmembers()[2]
    if damage == "missing":
        bad.unlink()
    else:
        cut = {"cut in a file": whole[: third.offset_data + 9], "cut in a header": whole[: third.offset + 99]}
        torn = whole[: third.offset] + b"x" * 512 + whole[third.offset + 512 :]
        bad.write_bytes(cut.get(damage, torn if damage == "overwritten header" else b"<html>" * 200))
    source = make("webdataset", path="s-{0,1}.tar", task="generate")
    good = 3 if damage in ("no tar", "missing") else 4
    assert len(source) == good + 1
    assert [said(source, row)[0] for row in range(good)] == [[f"text {row}"] for row in range(good)]
    assert source.place(good) == str(bad)
    with pytest.raises(DataError, match="damaged after|cut off after|is no tar file|no such shard"):
        said(source, good)


def test_a_shard_that_changes_while_it_is_used_is_noticed(make: Any, said: Any, tmp_path: Path) -> None:
    shard = _shard(tmp_path / "s.tar", _samples(0, 3))
    source = make("webdataset", path="s.tar", task="generate")
    os.utime(shard, (1, 1))
    with pytest.raises(DataError, match="has changed or gone"):
        said(source, 0)


def test_shards_without_a_sample_are_refused_at_once(make: Any, tmp_path: Path) -> None:
    _shard(tmp_path / "s.tar", {})
    with pytest.raises(DataError, match=r"no sample can be read: .*s\.tar: is empty"):
        make("webdataset", path="s.tar", task="generate")
