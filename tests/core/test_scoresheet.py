"""Scores for people: lines, tables of inputs by outputs, and a page."""

from typing import Any

from polyjanus.core.evaluation import Sample, Score
from polyjanus.core.scoresheet import groups, is_square, listed, page


def score(given: str, output: str, right: int, **more: Any) -> Score:
    return Score.of(right, 100, input=given, output=output, judge=f"a judge of {output}", **more)


def square() -> dict[str, Score]:
    pairs = [(given, output) for given in ("text", "image") for output in ("text", "image", "audio")]
    return {f"ways.{a} to {b}": score(a, b, 90 + place) for place, (a, b) in enumerate(pairs)}


def test_scores_of_every_input_with_every_output_are_a_table() -> None:
    rows = [line.split() for line in listed(square()).splitlines()]
    assert rows[0] == ["ways", "text", "image", "audio"]
    assert rows[1] == ["text", "90.0%", "91.0%", "92.0%"]
    assert rows[2] == ["image", "93.0%", "94.0%", "95.0%"]
    assert " ".join(rows[5]) == "audio by a judge of audio"


def test_scores_that_leave_a_pair_out_are_lines() -> None:
    scores = square()
    del scores["ways.image to audio"]
    assert not is_square(groups(scores)["ways"])
    assert "text → image:  91.0%" in listed(scores)


def test_a_score_that_is_not_above_a_control_is_marked_in_the_table() -> None:
    scores = square()
    scores["ways.text to text"] = score("text", "text", 50, controls={"noise": score("text", "text", 49)})
    assert "50.0%!" in listed(scores) and "!: not above control" in listed(scores)


def test_a_page_shows_every_score_with_its_interval_its_judge_and_its_samples(tiny: Any, picture: Any) -> None:
    shown = score("image", "text", 97, samples=(Sample("<seven>", "image", picture),))
    text = page({**square(), "alone": shown}, tiny.compiler.modalities, "Scores of x")
    assert "<h2>ways</h2><table>" in text and "<h2>alone</h2><details" in text
    assert "97.0%<br><small>91.5% to 99.0%" in text
    assert "a judge of audio" in text and "&lt;seven&gt;" in text and "data:image/webp;base64," in text
    assert "http" not in text
