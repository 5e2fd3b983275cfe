"""Bad rows in a run: replaced and listed, the same again on resume, and too many of them stop it."""

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyjanus.core.checkpoints.finding import CHECKPOINTS, newest
from polyjanus.core.data.mixing import Schedule
from polyjanus.core.data.rows import Row, Source, Split
from polyjanus.core.errors import DataError, PluginError
from polyjanus.core.training.loop import Training
from polyjanus.core.training.scoring import held_out_losses

WORDS = (
    "training.stages=[{name: s, train: [text, backbone], mix: {words: 1, captions: 1}, steps: 8, batch: 6, lr: 1e-3}]"
)
MANY = "training.bad_rows.minimum=10"


def _damage(runs: Any) -> None:
    """Give both data sets bad rows: no JSON, a role that there is not, a picture that is missing, one that is torn."""
    words = [json.dumps({"text": f"word {i} and more"}) for i in range(12)]
    words[4] = "{"
    words[8] = json.dumps({"messages": [{"role": "usr", "content": "x"}]})
    (runs.home / "words.jsonl").write_text("\n".join(words))
    (runs.home / "2.png").unlink()
    (runs.home / "5.png").write_bytes((runs.home / "5.png").read_bytes()[:300])


def _listed(runs: Any, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (runs.home / name / "bad_rows.jsonl").read_text().splitlines()]


def test_bad_rows_are_replaced_and_each_is_listed_once_with_place_and_reason(runs: Any) -> None:
    _damage(runs)
    training = runs.training("x", WORDS, MANY)
    training.run()
    assert len([record for record in runs.log("x") if "loss" in record]) == 8
    listed = {(bad["source"], bad["row"]): bad for bad in _listed(runs, "x")}
    assert len(listed) == len(_listed(runs, "x")) == len(training.feed.quarantine)
    assert set(listed) == {("words", 4), ("words", 8), ("captions", 2), ("captions", 5)}
    assert listed["words", 8]["place"].endswith("words.jsonl:9")
    assert "has the role 'usr'" in listed["words", 8]["reason"]
    assert "2.png" in listed["captions", 2]["reason"] and "damaged" in listed["captions", 5]["reason"]
    assert all(1 <= bad["step"] <= 8 for bad in listed.values())
    validations = [record for record in runs.log("x") if "validation" in record]
    assert sum(validations[-1]["bad_rows"].values()) == 4


def test_a_bad_row_changes_no_other_place_and_no_clean_step(runs: Any) -> None:
    """Places draw what they drew before; a step without a bad row has the loss that it had."""
    clean = runs.training("clean", WORDS, MANY)
    schedule = Schedule(0, 0, ["captions", "words"], {n: len(s[0]) for n, s in clean.splits.items()}, 6)
    before = [clean.feed.examples(schedule.draws(step), step + 1) for step in range(8)]
    _damage(runs)
    (runs.home / "words.jsonl").write_text("\n".join(json.dumps({"text": f"word {i}" * 2}) for i in range(5)))
    damaged = runs.training("damaged", WORDS, MANY)
    after = [damaged.feed.examples(schedule.draws(step), step + 1) for step in range(8)]
    changed = 0
    for step, draws in enumerate(schedule.draws(step) for step in range(8)):
        for draw, old, new in zip(draws, before[step], after[step], strict=True):
            if new.draw == draw:
                assert old.sequence.ids == new.sequence.ids
            else:
                assert draw.source == "captions" == new.draw.source
                changed += 1
    assert 0 < changed < 24


def test_a_run_with_bad_rows_goes_on_bit_by_bit_though_they_were_mended(runs: Any, quiet: Any) -> None:
    _damage(runs)
    torn, words = (runs.home / "5.png").read_bytes(), (runs.home / "words.jsonl").read_text()
    runs.training("unbroken", WORDS, MANY).run()
    for total in (1, 4, 7):
        name = f"stopped{total}"
        with pytest.raises(KeyboardInterrupt):
            display = quiet({total: lambda: signal.raise_signal(signal.SIGINT)})
            runs.training(name, WORDS, MANY, display=display).run()
        known = {bad["row"] for bad in _listed(runs, name) if bad["source"] == "words"}
        if 4 in known:  # what was found bad stays so for this run
            lines = words.splitlines()
            lines[4] = json.dumps({"text": "mended"})
            (runs.home / "words.jsonl").write_text("\n".join(lines))
        runs.training(name, WORDS, MANY, resume=True).run()
        assert runs.log(name) == runs.log("unbroken")
        assert _listed(runs, name) == _listed(runs, "unbroken")
        (runs.home / "words.jsonl").write_text(words)
    assert (runs.home / "5.png").read_bytes() == torn


def test_more_bad_rows_than_allowed_stop_the_run_which_saves_what_it_learned(runs: Any) -> None:
    _damage(runs)
    words = "training.stages=[{name: s, train: [text], mix: {words: 1, captions: 0}, steps: 9, batch: 1, lr: 1e-3}]"
    strict = "training.bad_rows={rate: 0.1, minimum: 1}"
    with pytest.raises(DataError, match=r"words: 2 rows of 12 are bad, more than the 1 .*words\.jsonl:[59]: ") as told:
        runs.training("x", words.replace("steps: 9", "steps: 40"), strict).run()
    assert "bad_rows.jsonl" in str(told.value)
    checkpoint = newest(runs.home / "x" / CHECKPOINTS)
    assert checkpoint is not None
    done = [record["total"] for record in runs.log("x") if "loss" in record][-1]
    assert done == _listed(runs, "x")[-1]["step"] - 1
    lenient = "training.bad_rows={rate: 0.5, minimum: 1}"  # may be changed on resume
    runs.training("x", words.replace("steps: 9", "steps: 40"), lenient, resume=True).run()
    assert [record["total"] for record in runs.log("x") if "loss" in record] == list(range(1, 41))


def test_a_rate_of_zero_stops_at_the_first_and_names_file_line_and_reason(runs: Any) -> None:
    (runs.home / "words.jsonl").write_text('{"text": "a"}\n\n{"txt": "b"}\n')
    with pytest.raises(DataError, match=r"words: .*words\.jsonl:3: has the keys \['txt'\]"):
        runs.training("x", WORDS, "training.bad_rows.rate=0.0").run()


def test_a_data_set_without_one_usable_row_stops_a_run_whatever_is_allowed(runs: Any) -> None:
    (runs.home / "words.jsonl").write_text("{\n{\n")
    with pytest.raises(DataError, match="words: none of the rows to train on can be used"):
        runs.training("x", WORDS, MANY).run()


def test_bad_held_out_rows_are_left_out_of_the_score_and_none_left_means_no_score(runs: Any) -> None:
    training = runs.training("x", WORDS, MANY, "data.captions.validation=0.3")
    held_out = training.splits["captions"][1]
    whole = _held_out_loss(training)
    for row in held_out.indices[1:]:
        (runs.home / f"{row}.png").write_bytes(b"no picture")
    again = runs.training("y", WORDS, MANY, "data.captions.validation=0.3")
    one = _held_out_loss(again)
    assert whole != one and again.feed.quarantine.counts() == {"captions": len(held_out) - 1}
    (runs.home / f"{held_out.indices[0]}.png").write_bytes(b"no picture")
    last = runs.training("z", WORDS, MANY, "data.captions.validation=0.3")
    assert _held_out_loss(last) is None


def _held_out_loss(training: Training) -> float | None:
    losses = held_out_losses(training.model, training.feed, training.config.validation, training.sharding, 0)
    return losses.get("captions")


class _Broken(Source):
    """A source that breaks its contract, or has a fault in its code."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __len__(self) -> int:
        return 5

    def row(self, index: int, noise: np.random.Generator) -> Row:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (TypeError("unsupported operand"), r"words: row \d: unsupported operand"),
        ([1], r"words: row \d: the source gave a list, not a mapping with 'messages'"),
        ({"text": "x"}, r"words: row \d: the source gave a dict"),
    ],
)
def test_a_fault_of_code_is_not_put_down_to_the_rows(runs: Any, answer: Any, match: str) -> None:
    training = runs.training("x", WORDS, MANY)
    broken = Split("words", _Broken(answer), np.arange(5))
    training.splits["words"] = (broken, broken)
    with pytest.raises(PluginError, match=match):
        training.run()
    path: Path = runs.home / "x" / "bad_rows.jsonl"
    assert not path.exists() and isinstance(training.splits, Mapping)
