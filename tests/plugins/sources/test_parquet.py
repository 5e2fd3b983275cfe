"""Parquet: any row at any time, whatever holds its media, with bounded memory."""

from typing import Any

import numpy as np
import pytest

from polyjanus.core.errors import DataError

pa = pytest.importorskip("pyarrow")
COLUMNS = {"image": "image", "caption": "text"}


def _table(tmp_path: Any, name: str, rows: list[dict[str, Any]], **options: Any) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), tmp_path / name, **options)


def _pairs(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"image": f"{i}.png".encode(), "caption": f"number {i}"} for i in range(start, start + count)]


def test_rows_of_several_files_and_groups_are_read_in_any_order(make: Any, said: Any, tmp_path: Any) -> None:
    _table(tmp_path, "a-000.parquet", _pairs(7), row_group_size=3)
    _table(tmp_path, "a-001.parquet", _pairs(4, 7), row_group_size=3)
    source = make("parquet", path="a-{000..001}.parquet", columns=COLUMNS, task="generate")
    assert len(source) == 11
    for row in np.random.default_rng(0).permutation(11).tolist():
        assert said(source, row) == [[f"number {row}"], [{"type": "image", "path": f"{row}.png".encode()}]]
    assert source.place(8).endswith("a-001.parquet: row 1")
    assert len(make("parquet", path=["a-*.parquet"], columns=COLUMNS, task="generate")) == 11


def test_a_struct_of_datasets_has_bytes_or_a_path(make: Any, said: Any, tmp_path: Any, png: bytes) -> None:
    rows = [
        {"image": {"bytes": png, "path": "x.png"}, "caption": "a", "q": "what?"},
        {"image": {"bytes": None, "path": "y.png"}, "caption": "b", "q": None},
    ]
    _table(tmp_path, "a.parquet", rows)
    source = make(
        "parquet", path="a.parquet", columns={**COLUMNS, "q": "prompt"}, task="image.understand", root="media"
    )
    assert said(source, 0) == [[{"type": "image", "path": png}, "what?"], ["a"]]
    assert said(source, 1)[0] == [{"type": "image", "path": str(tmp_path / "media/y.png")}, "Describe this image."]


def test_whole_messages_are_taken_as_they_are(make: Any, said: Any, tmp_path: Any) -> None:
    def message(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
        return {"role": role, "content": [{"type": None, "text": None, "image": None} | part for part in parts]}

    asked = message("user", {"type": "image", "image": "in.png"}, {"type": "text", "text": "hm?"})
    spare = message("user", {"type": "image"})
    answer = message("assistant", {"type": "text", "text": "yes"})
    rows = [{"messages": [asked, answer], "images": []}, {"messages": [spare, answer], "images": [{"bytes": b"1"}]}]
    _table(tmp_path, "a.parquet", rows)
    source = make("parquet", path="a.parquet")
    part = {"type": "image", "path": str(tmp_path / "in.png")}
    assert said(source, 0) == [[part, {"type": "text", "text": "hm?"}], [{"type": "text", "text": "yes"}]]
    assert said(source, 1)[0] == [{"type": "image", "path": b"1"}]


def test_no_more_is_kept_than_the_bound(make: Any, said: Any, tmp_path: Any) -> None:
    rows = [{"image": np.random.default_rng(i).bytes(300_000), "caption": f"{i}"} for i in range(12)]
    _table(tmp_path, "a.parquet", rows, row_group_size=2)  # 0.6 MB a group
    source = make("parquet", path="a.parquet", columns=COLUMNS, task="generate", cache_mb=2)
    for row in range(12):
        assert said(source, row)[1][0]["path"] == rows[row]["image"]
        assert sum(table.nbytes for table in source._tables.values()) <= 2 << 20
    assert len(source._tables) == 3
    _table(tmp_path, "b.parquet", rows)  # one group of 3.6 MB
    large = make("parquet", path="b.parquet", columns=COLUMNS, task="generate", cache_mb=2)
    assert [said(large, row)[0][0] for row in (11, 0, 5)] == ["11", "0", "5"]
    assert not large._tables


def test_what_cannot_be_opened_is_named_and_what_a_row_lacks_is_its_own_fault(
    make: Any, said: Any, tmp_path: Any
) -> None:
    _table(tmp_path, "a.parquet", [{"image": None, "caption": "a"}, {"image": b"x", "caption": ""}])
    source = make("parquet", path="a.parquet", columns=COLUMNS, task="generate")
    with pytest.raises(DataError, match=r"has no 'image' \(image\)"):
        said(source, 0)
    with pytest.raises(DataError, match="caption is empty"):
        said(source, 1)
    with pytest.raises(DataError, match="has the columns image, caption; 'text' is not among them"):
        make("parquet", path="a.parquet", columns={"image": "image", "text": "text"}, task="generate")
    with pytest.raises(DataError, match="none of them 'messages'"):
        make("parquet", path="a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 nothing")
    for name in ("b.parquet", "c.parquet"):
        with pytest.raises(DataError, match=f"{name} cannot be read as Parquet"):
            make("parquet", path=name)
    with pytest.raises(DataError, match="no file matches"):
        make("parquet", path="d*.parquet")
