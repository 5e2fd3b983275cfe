"""Conversations about the quintet's world: what is asked of each signal, and for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from polyjanus.core.data.rows import Row, Source
from polyjanus.examples.quintet import words
from polyjanus.examples.quintet.bending import Bend, Still
from polyjanus.examples.quintet.world import FOLDS, Instance, World

Noise = np.random.Generator
Turn = tuple[list[Any], list[Any]]
"""What the user says and what the assistant answers, part by part."""
COPIED_AS_PICTURE = 3
"""Of five copies; a solid is turned and sized, which is harder to see through than slant and colour."""
UNSAID = 0.1
"""Share of signals that come without words, named or answered with others: the output says what is wanted."""

SILENT = ("copy", "words")
"""Tasks that take no speech."""


class QuintetRows(Source):
    """One task over some senses; which fold a row is of is given by its number, all else comes from noise.

    A DataError says how speech is made where a task takes it and it is not there: before a run, not in each row.
    """

    def __init__(self, world: World, task: str, senses: Sequence[str], rows: int) -> None:
        self.world, self.senses, self.rows = world, tuple(senses), rows
        self._turn = TASKS[task]
        if "audio" in self.senses and task not in SILENT:
            world.expect_speech()

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.rows

    def group(self, index: int) -> str:
        """Return the fold of a row: handwriting, utterances and people that no other fold has."""
        return f"fold {index % FOLDS:02}"

    def row(self, index: int, noise: Noise) -> Row:
        """Return one conversation."""
        asked, answer = self._turn(self, index // FOLDS, index % FOLDS, noise)
        return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}

    def read(self, number: int, fold: int, noise: Noise) -> Turn:
        """Which digit is it?"""
        given = self._signal(self._sense(number), number, fold, noise)
        return [given.part, *_perhaps(words.READ, noise)], [given.name]

    def ask(self, number: int, fold: int, noise: Noise) -> Turn:
        """What is it like?"""
        given = self._signal(self._sense(number), number, fold, noise)
        attribute = str(noise.choice(list(given.attributes)))
        return [given.part, words.choose(words.ASK[attribute], noise)], [given.attributes[attribute]]

    def describe(self, number: int, fold: int, noise: Noise) -> Turn:
        """Which digit, and what is it like? In the words that ask for one."""
        given = self._signal(self._sense(number), number, fold, noise)
        said = words.described(given.sense, given.name, given.attributes)
        return [given.part, words.choose(words.DESCRIBE, noise)], [said]

    def write(self, number: int, fold: int, noise: Noise) -> Turn:
        """A signal of a digit with some attributes, asked for in words."""
        made = self._signal(self._sense(number), number, fold, noise)
        named = {key: value for key, value in made.attributes.items() if noise.random() < 0.5}
        return [words.wish(made.sense, made.name, named, noise)], [made.part]

    def cross(self, number: int, fold: int, noise: Noise) -> Turn:
        """Another signal of the same digit, in any sense."""
        given = self._signal(self._sense(number), number, fold, noise)
        made = self._signal(self._sense(number // len(self.senses)), number, fold, noise, digit=given.digit)
        return [given.part, *_perhaps(words.SAME_DIGIT[made.sense], noise)], [made.part]

    def copy(self, number: int, fold: int, noise: Noise) -> Turn:
        """The same handwriting, as a solid or, more often, as a picture, bent as nobody wrote it; the copy is plain."""
        source, target = ("image", "point_cloud")[:: -1 if number % 5 < COPIED_AS_PICTURE else 1]
        bend = Bend.drawn(noise)
        given = self._signal(source, number, fold, noise, bend=bend)
        assert given.handwriting is not None
        made = self.world.shown(target, given.handwriting, words.PLAIN[target], Still(noise.bit_generator), bend)
        asked = words.choose(words.THIS_VERY_ONE[target], noise)
        return [given.part, asked], [{"type": target, target: made}]

    def compare(self, number: int, fold: int, noise: Noise) -> Turn:
        """Are two signals of the same digit?"""
        first = self._signal(self._sense(number), number, fold, noise)
        is_same = bool(noise.random() < 0.5)
        digit = first.digit if is_same else words.other(first.digit, noise)
        second = self._signal(self._sense(number // len(self.senses)), number, fold, noise, digit=digit)
        return [first.part, second.part, words.choose(words.COMPARE, noise)], [words.ANSWERS[is_same]]

    def check(self, number: int, fold: int, noise: Noise) -> Turn:
        """Is it the digit that is named? Half the time it is another."""
        given = self._signal(self._sense(number), number, fold, noise)
        is_true = bool(noise.random() < 0.5)
        digit = given.digit if is_true else words.other(given.digit, noise)
        return [given.part, words.check(given.sense, words.NAMES[digit], noise)], [words.NO_YES[is_true]]

    def both(self, number: int, fold: int, noise: Noise) -> Turn:
        """Two signals in one reply: of a name, sound and picture; of another signal, any two."""
        if number % 2 and {"audio", "image"} <= set(self.senses):
            said = self._signal("audio", number, fold, noise)
            drawn = self._signal("image", number, fold, noise, digit=said.digit)
            return [words.choose(words.BOTH, noise).format(said.name)], [said.part, drawn.part]
        given = self._signal(self._sense(number // 2), number, fold, noise)
        senses = noise.permutation(self.senses)[:2]
        return [given.part], [self._signal(str(sense), number, fold, noise, digit=given.digit).part for sense in senses]

    def words(self, number: int, fold: int, noise: Noise) -> Turn:
        """Numerals as words."""
        digit = int(noise.integers(10))
        phrases, numerals = words.WORDS
        return [words.choose(phrases, noise).format(numerals[digit])], [words.NAMES[digit]]

    def _sense(self, number: int) -> str:
        return self.senses[number % len(self.senses)]

    def _signal(
        self, sense: str, number: int, fold: int, noise: Noise, *, digit: int | None = None, **same: Any
    ) -> Instance:
        wanted = int(noise.integers(10)) if digit is None else digit
        return self.world.draw(sense, wanted, noise, fold=fold, **same)


def _perhaps(phrases: Sequence[str], noise: Noise) -> list[str]:
    """Return one of the phrases, or sometimes none."""
    phrase = words.choose(phrases, noise)
    return [] if noise.random() < UNSAID else [phrase]


TASKS: Mapping[str, Callable[..., Turn]] = {
    task.__name__: task
    for task in (
        QuintetRows.read,
        QuintetRows.ask,
        QuintetRows.describe,
        QuintetRows.write,
        QuintetRows.cross,
        QuintetRows.copy,
        QuintetRows.compare,
        QuintetRows.check,
        QuintetRows.both,
        QuintetRows.words,
    )
}
