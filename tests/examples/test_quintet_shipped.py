"""The quintet that ships: every direction works end to end, as does what a user would type, without its data."""

import re
from pathlib import Path
from typing import Any

import pytest

from polyjanus.core.checkpoints.finding import find_checkpoint
from polyjanus.core.cli.main import main
from polyjanus.examples.quintet import words
from polyjanus.examples.quintet.suites import SUITES
from polyjanus.examples.quintet.world import open_world

SENSES = ("text", *words.SENSES)
DIRECTIONS = [(source, target) for source in SENSES for target in SENSES]


@pytest.fixture(scope="module")
def quintet(plugins: Any) -> Any:
    from polyjanus.core.pipeline import Pipeline

    return Pipeline.from_pretrained("quintet", plugins=plugins, device="cpu")


@pytest.fixture(scope="module")
def scores(quintet: Any) -> dict[str, Any]:
    """Return a score of every direction, of thirty signals that nothing was trained on."""
    return dict(SUITES["directions"](30, words.SENSES).measure_all(quintet))


@pytest.mark.slow
@pytest.mark.parametrize(("source", "target"), DIRECTIONS)
def test_the_digit_survives_in_every_direction(source: str, target: str, scores: dict[str, Any]) -> None:
    score = scores[f"{source} to {target}"]
    assert score.n == 30 and score.score >= 0.7


@pytest.mark.slow
def test_most_answers_are_right_over_all_directions(scores: dict[str, Any]) -> None:
    assert len(scores) == 25
    assert sum(score.score for score in scores.values()) / 25 >= 0.9


def test_the_shipped_weights_are_small_and_of_the_example(plugins: Any) -> None:
    from polyjanus.core.config.reading import read_pipeline
    from polyjanus.core.training.state import changes

    folder = find_checkpoint("quintet")
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 15e6
    files = Path(__file__).parents[2] / "examples" / "quintet.yaml", folder / "polyjanus.yaml"
    dumps = [
        read_pipeline(file, plugins.registries).config.model_dump(mode="json", serialize_as_any=True) for file in files
    ]
    assert set(changes(*dumps)) <= {"text.tokenizer.pretrained", "backbone.architecture.vocab_size"}


def test_two_signals_are_compared_and_two_come_in_one_reply(quintet: Any) -> None:
    suite = SUITES["directions"](10, words.SENSES)
    seven, same, other = (suite.signals(sense, 10, seed)[digit].part for sense, seed, digit in PAIRS)
    assert quintet.run([seven, same, "Are these the same digit?"]).text == "same"
    assert quintet.run([seven, other, "Are these the same digit?"]).text == "different"
    reply = quintet.run([seven], output=["audio", "image"])
    assert [part["type"] for part in reply.parts] == ["audio", "image"]
    assert [part["type"] for part in quintet.run("Say it and draw it: two.", output=["audio", "image"]).parts] == [
        "audio",
        "image",
    ]


@pytest.mark.parametrize("sense", words.SENSES)
def test_attributes_are_read_of_what_nothing_was_trained_on(sense: str, quintet: Any) -> None:
    suite = SUITES["directions"](20, words.SENSES)
    given = suite.signals(sense, 20, 3)
    for attribute in words.ATTRIBUTES[sense]:
        said = suite.ask(quintet, [[each.part, words.ASK[attribute][0]] for each in given], "text", 0)
        assert sum(answer == each.attributes[attribute] for answer, each in zip(said, given, strict=True)) >= 15


def test_a_signal_is_described_in_the_words_that_ask_for_it(quintet: Any) -> None:
    given = SUITES["directions"](10, words.SENSES).signals("image", 10, 3)
    said = quintet.run_many([[each.part, "Describe it."] for each in given], ["text"])
    told = [words.described("image", each.name, each.attributes) for each in given]
    assert sum(reply.text == each for reply, each in zip(said, told, strict=True)) >= 7


@pytest.mark.parametrize("sense", words.SENSES)
def test_it_says_whether_a_signal_is_what_it_is_called(sense: str, quintet: Any) -> None:
    (score,) = dict(SUITES["checked"](20, [sense]).measure_all(quintet)).values()
    assert score.score >= 0.75


def test_this_very_handwriting_is_found_again_in_its_copy(quintet: Any) -> None:
    for score in dict(SUITES["copied"](50, words.SENSES).measure_all(quintet, limit=50)).values():
        assert score.score >= 0.25


PAIRS = (("image", 1, 7), ("audio", 2, 7), ("audio", 2, 3))


def test_it_can_be_tried_without_the_speech_that_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    open_world.cache_clear()
    assert main(["samples", str(tmp_path / "samples")]) == 0
    said = capsys.readouterr().out
    files = dict(re.findall(r"^(\S+)  \((\w+)\)$", said, re.MULTILINE))
    assert [Path(file).stem for file in files] == list(words.SENSES)
    right = 0
    for file, name in files.items():
        assert main(["run", "quintet", f"--{Path(file).stem}", file]) == 0
        right += capsys.readouterr().out.strip() == name
    assert right >= 3


@pytest.mark.slow
def test_the_demo_shows_every_direction_and_leaves_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--limit", "10", "-o", str(tmp_path / "shown")]) == 0
    said = capsys.readouterr().out
    assert "rows are inputs, n = 10 each" in said and "polyjanus run quintet" in said
    made = {path.name for path in (tmp_path / "shown").iterdir()}
    assert {"demo.png", "eeg_to_image.png", "image_to_audio.wav", "audio_to_point_cloud.ply"} <= made


def test_a_demo_that_cannot_be_written_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("x")
    assert main(["demo", "-o", str(tmp_path / "taken")]) == 2
    assert "takes a folder" in capsys.readouterr().err
