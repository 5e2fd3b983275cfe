"""JSON Lines: every fault names its file and line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyjanus.core.data.jsonl import JsonLines
from polyjanus.core.data.rows import split
from polyjanus.core.errors import DataError

NOISE = np.random.default_rng(0)


def _rows(tmp_path: Path, text: str | bytes, root: Path | None = None) -> JsonLines:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return JsonLines(file, root)


def test_blank_lines_are_no_rows_and_numbers_stay_those_of_the_file(tmp_path: Path) -> None:
    rows = _rows(tmp_path, '\n{"text": "a"}\r\n  \n\n{"text": "b"}')
    assert len(rows) == 2
    assert [rows.place(i) for i in range(2)] == [f"{tmp_path / 'rows.jsonl'}:{line}" for line in (2, 5)]
    assert rows.row(1, NOISE)["messages"] == [{"role": "raw", "content": "b"}]


def test_rows_are_read_in_any_order_and_other_fields_are_kept(tmp_path: Path) -> None:
    rows = _rows(tmp_path, '{"text": "ä", "label": 1}\n{"messages": [], "id": 7}\n')
    assert rows.row(1, NOISE) == {"messages": [], "id": 7}
    assert rows.row(0, NOISE)["label"] == 1


def test_paths_in_parts_start_at_the_file_or_the_root(tmp_path: Path) -> None:
    line = '{"messages": [{"role": "user", "content": ["x", {"type": "image", "path": "a.png"}]}]}'
    for root in (None, tmp_path / "media"):
        part = _rows(tmp_path, line, root).row(0, NOISE)["messages"][0]["content"][1]
        assert part["path"] == str((root or tmp_path) / "a.png")
    absolute = _rows(tmp_path, line.replace("a.png", "/data/a.png")).row(0, NOISE)
    assert absolute["messages"][0]["content"][1]["path"] == "/data/a.png"


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("{", "is no JSON"),
        ("[1]", "is a list, not an object"),
        ("3", "is a int, not an object"),
        ('{"text ": 1}', r"has the keys \['text '\]; a row has a list of 'messages', or 'text'"),
        ('{"messages": 3}', "a list of 'messages'"),
        ('{"messages": {"role": "user"}}', "a list of 'messages'"),
        (b"\xff\xfe\xfa", "is no JSON"),
    ],
)
def test_a_fault_names_file_and_line(tmp_path: Path, line: Any, match: str) -> None:
    text = b'{"text": "a"}\n\n' + (line if isinstance(line, bytes) else line.encode())
    train, _ = split("captions", _rows(tmp_path, text), 0, 0)
    with pytest.raises(DataError, match=rf"captions: .*rows\.jsonl:3: .*{match}"):
        train.row(1, NOISE)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file.*nowhere"):
        JsonLines(tmp_path / "nowhere.jsonl")


def test_splits_are_disjoint_whole_and_always_the_same(tmp_path: Path) -> None:
    rows = _rows(tmp_path, "\n".join(f'{{"text": "{i}"}}' for i in range(50)))
    train, held_out = split("x", rows, 0.1, 3)
    assert sorted([*train.indices, *held_out.indices]) == list(range(50))
    assert len(held_out) == 5
    assert held_out.indices.tolist() == split("x", rows, 0.1, 3)[1].indices.tolist()
    assert held_out.indices.tolist() != split("x", rows, 0.1, 4)[1].indices.tolist()


def test_a_split_that_leaves_a_side_empty_or_no_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 2 rows; 0.1 of them leaves a side with none"):
        split("x", _rows(tmp_path, '{"text": "a"}\n{"text": "b"}'), 0.1, 0)
    with pytest.raises(DataError, match="'x' has no rows"):
        split("x", _rows(tmp_path, "\n\n"), 0, 0)
