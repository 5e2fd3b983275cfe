"""Quarantine: what counts as a bad row, how many are allowed, and what is remembered after which step."""

import json
from pathlib import Path

import pytest

from polyjanus.core.config.schema import BadRowsConfig
from polyjanus.core.data.mixing import Draw
from polyjanus.core.data.quarantine import BadRow, Quarantine, is_fault_of_data, reason_of
from polyjanus.core.errors import DataError, MediaError, PluginError, SequenceError, WiringError


def _quarantine(tmp_path: Path, rows: int = 10_000, **settings: float) -> Quarantine:
    return Quarantine(tmp_path / "bad_rows.jsonl", BadRowsConfig(**settings), {"captions": rows, "words": rows})  # type: ignore[arg-type]


def _bad(row: int, step: int = 1, source: str = "captions") -> BadRow:
    return BadRow(source, row, f"rows.jsonl:{row + 1}", "is no JSON", step)


@pytest.mark.parametrize(
    ("settings", "rows", "allowed"),
    [
        ({}, 10_000, 10),
        ({}, 100, 3),  # a thousandth of a small data set is less than one row
        ({"rate": 0.0}, 10_000, 0),
        ({"rate": 0.0, "minimum": 5}, 10_000, 0),
        ({"rate": 0.01, "minimum": 0}, 250, 2),
        ({"rate": 0.01, "minimum": 0}, 50, 0),
    ],
)
def test_so_many_bad_rows_are_allowed_and_no_more(
    tmp_path: Path, settings: dict[str, float], rows: int, allowed: int
) -> None:
    quarantine = _quarantine(tmp_path, rows, **settings)
    for row in range(allowed):
        quarantine.add(_bad(row))
        quarantine.add(_bad(row))  # known: neither counted nor listed again
    quarantine.add(_bad(0, source="words")) if allowed else None
    with pytest.raises(DataError, match=rf"captions: .*rows\.jsonl:{allowed + 1}: is no JSON"):
        quarantine.add(_bad(allowed))
    assert len(quarantine.file.read_text().splitlines()) == len(quarantine) == allowed + 1 + bool(allowed)


def test_what_was_met_after_a_step_is_forgotten_with_what_was_cut_off(tmp_path: Path) -> None:
    first = _quarantine(tmp_path)
    for row, step in ((4, 1), (5, 3), (6, 4)):
        first.add(_bad(row, step))
    with first.file.open("a") as file:
        file.write('{"source": "captions", "ro')
    again = _quarantine(tmp_path)
    again.restore(3)
    assert [bad.row for bad in again] == [4, 5]
    assert [json.loads(line)["row"] for line in again.file.read_text().splitlines()] == [4, 5]
    again.restore(0)
    assert not list(again) and again.file.read_text() == ""


def test_processes_list_bad_rows_in_files_of_their_own_and_know_those_of_all(tmp_path: Path) -> None:
    first, second = _quarantine(tmp_path), _quarantine(tmp_path)
    second.file = tmp_path / "bad_rows-1.jsonl"
    first.add(_bad(4))
    second.add(_bad(4))
    second.add(_bad(5))
    alone = _quarantine(tmp_path)  # the run goes on with one process
    alone.restore(1)
    alone.gather()
    assert alone.counts() == {"captions": 2} and alone.knows("captions", 5)
    assert len(alone.file.read_text().splitlines()) == 1


@pytest.mark.parametrize("error", [MediaError("x"), SequenceError("x"), OSError("x"), ValueError("x"), KeyError("x")])
def test_what_a_row_can_cause_is_put_down_to_the_row(error: Exception) -> None:
    assert is_fault_of_data(_caused_by(error))


@pytest.mark.parametrize(
    "error", [TypeError("x"), AttributeError("x"), AssertionError(), PluginError("x"), WiringError("x"), MemoryError()]
)
def test_what_only_code_can_cause_is_not(error: Exception) -> None:
    assert not is_fault_of_data(_caused_by(error))


def _caused_by(error: Exception) -> DataError:
    outer = DataError("captions: row 3: x")
    outer.__cause__ = SequenceError("x")
    outer.__cause__.__cause__ = error
    return outer


def test_a_reason_is_one_line_and_does_not_repeat_the_place() -> None:
    error = DataError("is empty\n  was it cut off?", where="a: b:3", hint="fetch it")
    assert reason_of(error, "a: b:3") == "is empty; was it cut off?; fetch it"
    assert reason_of(error, "elsewhere").startswith("a: b:3: is empty")
    medium = MediaError("is no picture", where="/x/1.png")
    assert reason_of(DataError(str(medium), where="a: /x/1.png"), "a: /x/1.png") == "is no picture"


def test_stand_ins_depend_on_place_and_attempt_alone() -> None:
    draw = Draw("captions", 7, (0, 1, 2, 3))
    found = [draw.instead(attempt, 100) for attempt in range(1, 30)]
    assert found == [draw.instead(attempt, 100) for attempt in range(1, 30)]
    assert len({each.index for each in found}) > 15 and all(0 <= each.index < 100 for each in found)
    assert found != [Draw("captions", 7, (0, 1, 2, 4)).instead(attempt, 100) for attempt in range(1, 30)]
    assert len({each.noise().random() for each in [draw, *found]}) == 30
