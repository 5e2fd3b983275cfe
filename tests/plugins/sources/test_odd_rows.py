"""Whatever stands in a row, it is the row that is at fault: no odd value looks like a fault of our code."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyjanus.core.data.compiling import RowCompiler
from polyjanus.core.data.quarantine import is_fault_of_data
from polyjanus.core.data.rows import Source, Split
from polyjanus.core.errors import DataError, PolyjanusError

ODD: list[Any] = [
    None,
    True,
    0,
    -1.5,
    "",
    "x",
    "\ud800",
    "<image>",
    [],
    ["x"],
    [None],
    {},
    {"a": 1},
    {"path": 3},
    [[[]]],
]
PART = {"type": "image", "path": "a.png", "pathway": "understand"}
MESSAGES = [
    {"role": "user", "content": [PART, "what?", {"type": "text", "text": "well"}]},
    {"role": "assistant", "content": "a cat"},
]
TURNS = [{"from": "human", "value": "<image> what?"}, {"from": "gpt", "value": "a cat"}]
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "jsonl": ({"messages": MESSAGES}, {"type": "jsonl", "path": "rows.jsonl"}, "rows.jsonl"),
    "llava": (
        {"id": 1, "image": ["a.png"], "conversations": TURNS},
        {"type": "llava", "path": "rows.jsonl"},
        "rows.jsonl",
    ),
    "sharegpt": (
        {"system": "s", "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]},
        {"type": "sharegpt", "path": "rows.jsonl"},
        "rows.jsonl",
    ),
    "captions": (
        {"file_name": "a.png", "text": ["a", "b"]},
        {"type": "caption_folder", "path": ".", "task": "understand"},
        "captions.jsonl",
    ),
}


def _mutated(value: Any, numbers: random.Random) -> Any:
    """Return a copy with one place changed: another value, a place lost, or a key renamed."""
    if isinstance(value, dict) and value and numbers.random() < 0.85:
        key = numbers.choice(list(value))
        copy = {name: entry for name, entry in value.items() if name != key}
        if numbers.random() < 0.1:
            return copy
        return copy | {key if numbers.random() < 0.95 else "odd": _mutated(value[key], numbers)}
    if isinstance(value, list) and value and numbers.random() < 0.85:
        place = numbers.randrange(len(value))
        return [*value[:place], _mutated(value[place], numbers), *value[place + 1 :]]
    return numbers.choice(ODD)


@pytest.fixture(scope="module")
def compiled(tiny: Any) -> Callable[[Source], int]:
    """Return a function that compiles all rows of a source and counts the bad ones, none a fault of code."""

    def count(source: Source) -> int:
        rows = RowCompiler(lambda messages: tiny.compile(messages, is_prompt=False), 512)
        every, bad = Split("x", source, np.arange(len(source))), 0
        for index in range(len(source)):
            try:
                rows.sequence(every, index, np.random.default_rng(index))
            except PolyjanusError as error:
                record = f"{source.place(index)}: {error!r} from {error.__cause__!r}"
                assert isinstance(error, DataError) and is_fault_of_data(error), record
                bad += 1
        return bad

    return count


@pytest.mark.parametrize("kind", KINDS)
def test_no_odd_value_in_a_row_is_taken_for_a_fault_of_code(
    make: Any, compiled: Any, write: Any, tmp_path: Path, kind: str
) -> None:
    row, block, name = KINDS[kind]
    write("a.png")
    numbers = random.Random(0)
    lines = [row, *(_mutated(row, numbers) for _ in range(250))]
    (tmp_path / name).write_text("\n".join(json.dumps(line) for line in lines))
    source = make(block["type"], **{key: value for key, value in block.items() if key != "type"})
    bad = compiled(source)
    assert len(source) == 251
    assert 60 < bad < 251


def test_json_nested_too_deep_is_a_fault_of_its_row(make: Any, compiled: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"text": ' + "[" * 100_000 + "\n")
    assert compiled(make("jsonl", path="rows.jsonl")) == 1
