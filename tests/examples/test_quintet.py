"""The quintet's world: what is split stays apart, what is said is true, and judges know real signals."""

import json
import re
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from polyjanus.core.errors import DataError
from polyjanus.core.reply import Reply
from polyjanus.examples.quintet import brain, judges, solids, sounds, vocabulary, words
from polyjanus.examples.quintet.bending import Bend, Still
from polyjanus.examples.quintet.metrics import HandwritingIndex
from polyjanus.examples.quintet.pictures import handwriting, strokes
from polyjanus.examples.quintet.source import TASKS, QuintetRows
from polyjanus.examples.quintet.suites import SUITES
from polyjanus.examples.quintet.variety import known_signals
from polyjanus.examples.quintet.world import FOLDS, Instance, World, handwriting_of, open_world


def test_no_handwriting_is_in_two_splits_and_all_are_in_one() -> None:
    found = np.concatenate([handwriting_of(split) for split in ("train", "judges", "test")])
    assert len(found) == len(np.unique(found)) == 1797


def test_no_voice_is_in_two_splits() -> None:
    voices = [voice for sexes in sounds.VOICES.values() for sex in sexes for voice in sex]
    assert len(voices) == len(set(voices))


def test_folds_share_no_handwriting_and_no_people(speech: Path) -> None:
    world = World("train", speech)
    found = [
        {
            world.draw("image", digit, np.random.default_rng(i), fold=fold).handwriting
            for digit in range(10)
            for i in range(20)
        }
        for fold in range(FOLDS)
    ]
    assert sum(len(fold) for fold in found) == len(set.union(*found))


def contents(row: Any) -> list[str]:
    """Return what is in a row; the repr of a picture is where it lies in memory."""
    parts = [part for message in row["messages"] for part in message["content"]]
    media = [part if isinstance(part, str) else part[part["type"]] for part in parts]
    return [repr(each.tobytes()) if isinstance(each, Image.Image) else repr(each) for each in media]


@pytest.mark.parametrize("task", TASKS)
def test_a_row_is_the_same_for_the_same_noise_and_its_fold_is_that_of_its_number(task: str, speech: Path) -> None:
    rows = QuintetRows(World("train", speech), task, words.SENSES, 400)
    first, again = (contents(rows.row(137, np.random.default_rng(3))) for _ in range(2))
    assert first == again
    assert rows.group(137) == "fold 17"


def test_what_is_asked_for_in_words_is_what_the_signal_is(speech: Path) -> None:
    rows = QuintetRows(World("train", speech), "write", ["image"], 400)
    named = 0
    for number in range(40):
        content = [
            message["content"] for message in rows.row(number * FOLDS, np.random.default_rng(number))["messages"]
        ]
        picture = content[1][0]["image"]
        colour = next((name for name in ("red", "green", "blue") if name in content[0][0]), None)
        named += colour is not None
        if colour is not None:
            assert judges.image_colour(picture).argmax() == ("red", "green", "blue").index(colour)
    assert named > 8


def test_a_check_is_answered_by_whether_it_is_so(speech: Path) -> None:
    rows = QuintetRows(World("train", speech), "check", ["eeg"], 2000)
    right = 0
    for number in range(40):
        asked, answer = (m["content"] for m in rows.row(number * FOLDS, np.random.default_rng(number))["messages"])
        seen = words.NAMES[judges.brain_scores(asked[0]["eeg"]).argmax()]
        right += (seen in asked[1].strip(".?").split()) == (answer == ["yes"])
    assert right >= 36


def test_bent_handwriting_is_the_same_as_a_picture_and_as_a_solid() -> None:
    far: list[list[float]] = []
    for number in open_world("test").written(7)[:20]:
        points = solids.surface(number)[:, :2] * solids.DOWN
        bends = [Bend.drawn(np.random.default_rng([number, seed])) for seed in range(2)]
        ink = strokes(handwriting()[0][number], 64, bend=bends[0])
        wanted = ink_at(points, strokes(handwriting()[0][number], 64))
        far.append([abs(ink_at(bend.forward(points), ink) - wanted) for bend in bends])
    own, other = np.mean(far, axis=0)
    assert own < 0.03 < other / 2


def ink_at(points: Any, ink: Any) -> float:
    """Return the mean ink of a picture at points of the square from -1 to 1."""
    columns, rows = ((points + 1) / 2 * (len(ink) - 1)).round().astype(int).T
    return float(ink[rows, columns].mean())


def test_what_is_not_bent_stays_what_it_is_and_a_bend_can_be_undone() -> None:
    still, ink = Bend(np.zeros((4, 2)), np.zeros((4, 2)), np.ones(2)), handwriting()[0][5]
    assert np.array_equal(strokes(ink, 32, slant=0.3, turn=5.0), strokes(ink, 32, slant=0.3, turn=5.0, bend=still))
    points, bend = np.random.default_rng(0).uniform(-0.7, 0.7, (50, 2)), Bend.drawn(np.random.default_rng(1))
    assert np.abs(bend.backward(bend.forward(points)) - points).max() < 0.05


def test_a_copy_shows_the_strokes_and_nothing_of_chance() -> None:
    world = open_world("test")
    first, second = (
        world.shown(
            "image", 5, words.PLAIN["image"], Still(np.random.PCG64(seed)), Bend.drawn(np.random.default_rng(1))
        )
        for seed in range(2)
    )
    assert np.array_equal(first, second)
    solids = [world.shown("point_cloud", 5, words.PLAIN["point_cloud"], Still(np.random.PCG64(n))) for n in range(2)]
    extents = [np.quantile(solid.xyz, [0.01, 0.99], axis=0) for solid in solids]
    assert np.abs(extents[0] - extents[1]).max() < 0.06 and len(solids[0].xyz) != len(solids[1].xyz)


def test_what_is_copied_is_bent_and_its_copy_plain(speech: Path) -> None:
    rows = QuintetRows(World("train", speech), "copy", words.SENSES, 2000)
    made = [rows.row(n * FOLDS, np.random.default_rng(n))["messages"][1]["content"][0] for n in range(40)]
    pictures = [each["image"] for each in made if each["type"] == "image"]
    assert 20 <= len(pictures) <= 28
    assert all(np.ptp(judges.image_colour(each)) < 0.01 for each in pictures)
    sizes = [judges.cloud_size(each["point_cloud"])[0] for each in made if each["type"] == "point_cloud"]
    assert min(sizes) > 0.5


def test_a_copy_is_of_the_same_handwriting_and_is_found_by_it() -> None:
    world = open_world("test")
    chosen = [int(number) for digit in range(10) for number in world.written(digit)[:4]]
    noise = np.random.default_rng(0)
    for sense in ("image", "point_cloud"):
        media = [world.draw(sense, int(world.labels[n]), noise, handwriting=n).media for n in chosen]
        assert (HandwritingIndex(chosen, world, sense).find(media) == chosen).mean() > 0.8


def test_the_last_phrase_of_every_list_is_kept_for_testing() -> None:
    noise = np.random.default_rng(0)
    lists = (words.ASK, words.WRITE, words.SAME_DIGIT, words.THIS_VERY_ONE)
    for phrases in (words.READ, words.COMPARE, words.CHECK, words.WORDS[0], *chain(*(each.values() for each in lists))):
        assert phrases[-1] == words.choose(phrases, None)
        assert phrases[-1] not in {words.choose(phrases, noise) for _ in range(100)}


def test_every_word_is_one_token_and_the_tokenizer_is_the_one_that_the_words_give() -> None:
    trained = vocabulary.train()
    assert json.loads(trained.to_str()) == json.loads((vocabulary.FOLDER / "tokenizer.json").read_text())
    for sentence in vocabulary.sentences():
        tokens = [token.strip("Ġ") for token in trained.encode(sentence).tokens]
        assert [token for token in tokens if re.fullmatch("[A-Za-z]+", token)] == re.findall("[A-Za-z]+", sentence)


@pytest.mark.parametrize("sense", words.SENSES)
def test_judges_know_most_of_real_signals_and_not_all(sense: str) -> None:
    for question, (_, ceiling) in judges.judges(sense).items():
        assert 0.85 < ceiling <= 1.0, question
        if question == "digit":
            assert 0.9 < ceiling < 0.99


@pytest.fixture(scope="module")
def untrained(plugins: Any) -> Any:
    from polyjanus.core.pipeline import Pipeline

    return Pipeline.from_yaml(Path(__file__).parents[2] / "examples" / "quintet.yaml", plugins=plugins, device="cpu")


@pytest.mark.parametrize(
    ("of", "names"),
    [
        ("directions", ["text to text", "text to image", "image to text", "image to image"]),
        ("asked", ["image colour", "image slant"]),
        ("named", ["image colour", "image slant"]),
        ("compared", [""]),
        ("checked", ["image"]),
    ],
)
def test_a_model_that_learned_nothing_scores_no_better_than_chance(of: str, names: list[str], untrained: Any) -> None:
    found = dict(SUITES[of](40, ["image"], guided=False).measure_all(untrained, limit=20))
    assert list(found) == names
    for score in found.values():
        assert score.n == 20 and score.score <= (0.75 if of in {"compared", "checked"} else 0.6)


class Oracle:
    """What stands for a pipeline that does what it is told: real pictures of the digit and the colour in the prompt."""

    def run_many(self, prompts: list[Any], output: list[str], **_: Any) -> list[Reply]:
        noise = np.random.default_rng(0)
        return [
            Reply([{"type": "image", "media": self._drawn(prompt.strip(".").split(), noise)}]) for prompt in prompts
        ]

    def _drawn(self, told: list[str], noise: np.random.Generator) -> Any:
        world, digit = open_world("test"), next(i for i, name in enumerate(words.NAMES) if name in told)
        number = int(noise.choice(world.written(digit)))
        found = {
            kind: next((v for v in values if v in told), values[0])
            for kind, values in words.ATTRIBUTES["image"].items()
        }
        return world.shown("image", number, found, noise)


def test_a_model_that_does_what_it_is_told_scores_as_high_as_the_judges_allow() -> None:
    for score in dict(SUITES["asked"](40, ["image"], guided=True).measure_all(Oracle())).values():  # type: ignore[arg-type]
        assert score.score >= 0.95
    wanted = [Instance("image", number % 10, {}, None) for number in range(40)]
    made = [
        reply.media("image")[0] for reply in Oracle().run_many([f"Draw a {each.name}." for each in wanted], ["image"])
    ]
    judge, ceiling = judges.judges("image")["digit"]
    assert judge.is_right(made, wanted).mean() >= ceiling - 0.1


class Parrot(Oracle):
    """What stands for a pipeline that learned one picture of each digit by heart."""

    def _drawn(self, told: list[str], noise: np.random.Generator) -> Any:
        return super()._drawn(told, np.random.default_rng(0))


class Copyist(Oracle):
    """What stands for a pipeline that gives back what it was trained on."""

    def _drawn(self, told: list[str], noise: np.random.Generator) -> Any:
        return known_signals("image")[int(noise.integers(2000))].media


@pytest.mark.parametrize(("model", "low", "high"), [(Oracle, 0.9, 1.0), (Parrot, 0.0, 0.1), (Copyist, 0.0, 0.1)])
def test_what_is_repeated_or_copied_is_not_varied(model: type[Oracle], low: float, high: float) -> None:
    (score,) = dict(SUITES["varied"](40, ["image"]).measure_all(model())).values()  # type: ignore[arg-type]
    assert low <= score.score <= high
    assert score.details["distinct"] <= (0.3 if model is Parrot else 1.0)


def test_the_pipeline_rates_its_own_signals_and_the_area_under_the_curve_is_told(untrained: Any) -> None:
    found = dict(SUITES["rated"](10, ["eeg"], guided=False).measure_all(untrained))
    assert list(found) == ["eeg best of 1", "eeg best of 4", "eeg best of 8"]
    assert all(0 <= score.details["self_score_auc"] <= 1 for score in found.values())


def test_settings_are_chosen_on_a_fold_that_nothing_else_uses(speech: Path) -> None:
    suite = SUITES["directions"](10, ["image"], world=World("train", speech), fold=4)
    numbers = {each.handwriting for each in suite.signals("image", 50, 0)}
    trained = {each.handwriting for each in SUITES["directions"](10, ["image"]).signals("image", 50, 0)}
    assert numbers.isdisjoint(handwriting_of("test")) and trained <= set(handwriting_of("test"))


def test_every_sense_has_a_held_out_signal_to_try() -> None:
    found = list(SUITES["directions"](10, words.SENSES).examples(3))
    assert [sample.modality for sample in found] == list(words.SENSES)
    assert len({sample.caption for sample in found}) == 4


def test_another_signal_of_the_same_handwriting_is_what_a_copy_is_held_to(untrained: Any) -> None:
    found = dict(SUITES["copied"](20, words.SENSES, guided=False).measure_all(untrained, limit=10))
    assert list(found) == ["image to point_cloud", "point_cloud to image"]
    assert all(score.score < 0.5 for score in found.values())


def test_eeg_keeps_the_frequency_and_the_phase_of_its_target() -> None:
    noise = np.random.default_rng(0)
    trials = [brain.head().trial(3, brain.Person.of(7), {"amplitude": "strong"}, noise).volts[2] for _ in range(40)]
    power = np.abs(np.fft.rfft(np.mean(trials, axis=0)))
    hertz = np.fft.rfftfreq(len(trials[0]), 1 / brain.RATE)
    assert abs(hertz[power.argmax()] - brain.FREQUENCIES[3]) < 0.5


def test_without_speech_it_is_said_how_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="espeak-ng"):
        World("train", tmp_path / "none.npz").draw("audio", 3, np.random.default_rng(0))


@pytest.mark.parametrize("task", TASKS)
def test_a_task_that_takes_speech_and_no_other_asks_for_it_before_the_first_row(
    task: str, speech: Path, tmp_path: Path
) -> None:
    rows = QuintetRows(World("train", speech), task, words.SENSES, 4000)
    turns = [turn for n in range(40) for turn in rows.row(n * FOLDS, np.random.default_rng(n))["messages"]]
    if any("audio" in part for turn in turns for part in turn["content"] if isinstance(part, dict)):
        with pytest.raises(DataError, match="espeak-ng"):
            QuintetRows(World("train", tmp_path / "none.npz"), task, words.SENSES, 4000)
    else:
        QuintetRows(World("train", tmp_path / "none.npz"), task, words.SENSES, 4000)
