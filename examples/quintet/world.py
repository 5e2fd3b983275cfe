"""The quintet's world: ten digits as pictures, speech, solids and EEG, in splits that share nobody and nothing.

Handwriting is split by sample, speech by voice, EEG by person. `train` has twenty folds, so that a data set that holds
out a share of its rows holds out their handwriting, utterances and people, too; `judges` is what classifiers are
fitted on, and `test` what scores are of. Speech takes espeak-ng, and so lies in files that `making.py` makes: what is
trained on in one of the user's, what is tested on in one that ships with this package. All else is made in passing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np

from polyjanus.core.errors import DataError
from polyjanus.encoders.audio.media import Audio
from polyjanus.examples.quintet import pictures, solids, sounds
from polyjanus.examples.quintet.bending import Bend
from polyjanus.examples.quintet.brain import Person, head
from polyjanus.examples.quintet.words import ATTRIBUTES, NAMES, Attributes

Array = np.ndarray[Any, Any]
Split = Literal["train", "judges", "test"]
SEED = 20241017
FOLDS = 20
HANDWRITING = {"test": 360, "judges": 400}
"""Digits of these splits; all others are trained on."""
CYCLE = 40
"""Utterances in which every digit is spoken at every pitch and speed."""
PEOPLE = {"train": (0, 200), "judges": (1000, 40), "test": (2000, 40)}
"""First person and number of people, by split."""
FILE = Path("~/.cache/polyjanus/quintet.npz")
"""Where the speech that is trained on is made, and looked for."""
HELD_OUT = "held_out.npz"
"""The file here of speech that is tested on, and of what judges of speech are fitted on."""


@dataclass(frozen=True)
class Instance:
    """One signal: its sense, its digit, what it is like, its medium, and which handwriting it is, if any."""

    sense: str
    digit: int
    attributes: Attributes
    media: Any
    handwriting: int | None = None

    @property
    def name(self) -> str:
        """Return the digit's name."""
        return NAMES[self.digit]

    @property
    def part(self) -> dict[str, Any]:
        """Return the signal as a part of a message."""
        return {"type": self.sense, self.sense: self.media}


def handwriting_of(split: Split) -> Array:
    """Return the numbers of the digits of a split."""
    order = np.random.default_rng(SEED).permutation(len(pictures.handwriting()[1]))
    test, judges = HANDWRITING["test"], HANDWRITING["judges"]
    kept = {"test": order[:test], "judges": order[test : test + judges], "train": order[test + judges :]}
    return np.sort(kept[split])


class World:
    """One split of the world, from which signals are drawn."""

    def __init__(self, split: Split, file: Path = FILE) -> None:
        self.split, self.file = split, file.expanduser()
        self.labels = pictures.handwriting()[1]
        folds = FOLDS if split == "train" else 1
        written = handwriting_of(split)
        self._handwriting = _table(written, self.labels[written], np.arange(len(written)) % folds, folds)
        first, count = PEOPLE[split]
        self._people = [range(first + fold, first + count, folds) for fold in range(folds)]

    def draw(
        self,
        sense: str,
        digit: int,
        noise: np.random.Generator,
        *,
        fold: int = 0,
        handwriting: int | None = None,
        bend: Bend | None = None,
    ) -> Instance:
        """Return a signal of a digit; which one, and what it is like, comes from `noise`, unless it is given."""
        if sense == "audio":
            return self._spoken(digit, noise, fold)
        attributes = {key: values[noise.integers(len(values))] for key, values in ATTRIBUTES[sense].items()}
        if sense == "eeg":
            people = self._people[fold]
            person = Person.of(people[int(noise.integers(len(people)))])
            return Instance(sense, digit, attributes, head().trial(digit, person, attributes, noise))
        if handwriting is None:
            handwriting = int(noise.choice(self._handwriting[fold][digit]))
        return Instance(sense, digit, attributes, self.shown(sense, handwriting, attributes, noise, bend), handwriting)

    def shown(
        self, sense: str, number: int, attributes: Attributes, noise: np.random.Generator, bend: Bend | None = None
    ) -> Any:
        """Return a handwriting as a picture or as a solid."""
        if sense == "image":
            return pictures.render(number, attributes, noise, bend)
        return solids.cloud(number, attributes, noise, bend)

    def expect_speech(self) -> None:
        """Raise a DataError that says how speech is made, where this split's is not there."""
        if self.split != "test" and not self.file.is_file():
            raise DataError(
                "the quintet's speech has not been made yet",
                where=str(self.file),
                hint="make it, in about two minutes, with espeak-ng: python -m polyjanus.examples.quintet.making",
            )

    def written(self, digit: int) -> Array:
        """Return the numbers of all handwriting of a digit in this split."""
        return np.concatenate([fold[digit] for fold in self._handwriting])

    def _spoken(self, digit: int, noise: np.random.Generator, fold: int) -> Instance:
        self.expect_speech()
        samples, values = _held_out_speech() if self.split == "test" else _speech_in(self.file, self.split)
        spoken = np.arange(len(samples))
        in_fold = spoken // CYCLE % (FOLDS if self.split == "train" else 1) == fold
        number = int(noise.choice(spoken[in_fold & (values[:, 0] == digit)]))
        _, pitch, speed = values[number]
        kinds = ATTRIBUTES["audio"]
        attributes = {"pitch": kinds["pitch"][pitch], "speed": kinds["speed"][speed]}
        heard = sounds.heard(samples[number], noise)
        return Instance("audio", digit, attributes, Audio(heard[None], sounds.RATE))


@cache
def open_world(split: Split) -> World:
    """Return a split of the world."""
    return World(split)


@cache
def held_out() -> dict[str, Array]:
    """Return the arrays of the file that ships with this package."""
    with np.load(str(files("polyjanus.examples.quintet") / HELD_OUT)) as archive:
        return {name: archive[name] for name in archive.files}


@cache
def _held_out_speech() -> tuple[Array, Array]:
    return sounds.unpacked(held_out()["test.samples"]), held_out()["test.values"]


@cache
def _speech_in(file: Path, split: Split) -> tuple[Array, Array]:
    """Return the utterances of a split, samples (N, T), int16, and digit, pitch and speed of each (N, 3)."""
    with np.load(file) as archive:
        return archive[f"{split}.samples"], archive[f"{split}.values"]


def _table(numbers: Array, digits: Array, folds: Array, count: int) -> list[list[Array]]:
    return [[numbers[(folds == fold) & (digits == digit)] for digit in range(10)] for fold in range(count)]
