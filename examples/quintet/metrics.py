"""What is asked of a model of the quintet, and how it did: every direction, every attribute, the same handwriting.

All prompts are phrased as none was in training; all signals are of people, voices and handwriting that it never met.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from polyjanus.core.evaluation import Sample, Score, Suite
from polyjanus.core.judging import distances
from polyjanus.core.pipeline import Pipeline
from polyjanus.examples.quintet import words
from polyjanus.examples.quintet.judges import Judge, cloud_digit, image_digit, judges, signals
from polyjanus.examples.quintet.pictures import SLANT
from polyjanus.examples.quintet.solids import TILT
from polyjanus.examples.quintet.world import Instance, World, open_world

Array = np.ndarray[Any, Any]
Scores = Iterator[tuple[str, Score]]
TEXT = "text"
TOLD = 8
"""Tokens of an answer, at most."""
SHOWN = 10
"""Samples of a score."""
COMMANDS = (
    '"Please draw seven." --output image -o seven.png',
    '--image seven.png "Say this digit." --output audio -o seven.wav',
    '--audio seven.wav "Build this digit." --output point_cloud -o seven.ply',
    '--point_cloud seven.ply "What number is this?"',
)
"""What a person could try next."""
CANDIDATES = 100
"""Handwritings among which the right one is to be found."""


class QuintetSuite(Suite):
    """What all evaluations of the quintet share: its test split, its judges, and how a model is asked."""

    def __init__(
        self, count: int, senses: Sequence[str], *, guided: bool = True, world: World | None = None, fold: int = 0
    ) -> None:
        self.count, self.senses, self.guided = count, tuple(senses), guided
        self.world, self.fold = world or open_world("test"), fold

    def signals(self, sense: str, count: int, seed: int) -> list[Instance]:
        """Return signals that nothing was trained or fitted on, digit after digit."""
        return signals(self.world, sense, count, seed, self.fold)

    def examples(self, seed: int = 0) -> Iterator[Sample]:
        """Yield a signal of every sense, each of another digit."""
        for sense, digit in zip(self.senses, np.random.default_rng(seed).permutation(10), strict=False):
            found = self.world.draw(sense, int(digit), np.random.default_rng([seed, 7]), fold=self.fold)
            yield Sample(found.name, sense, found.media)

    def ask(self, pipeline: Pipeline, prompts: Sequence[Any], output: str, seed: int) -> list[Any]:
        """Return what a model answers: words, or one medium each."""
        samplers: dict[str, Any] = {TEXT: {"type": "greedy"}}
        if not self.guided and output != TEXT:
            samplers[output] = {"type": "nucleus"}
        replies = pipeline.run_many(prompts, [output], seed=seed, samplers=samplers, max_tokens=TOLD)
        return [reply.text if output == TEXT else reply.media(output)[0] for reply in replies]

    def judged(
        self,
        answers: Sequence[Any],
        wanted: Sequence[Instance],
        judge: Judge,
        ceiling: float,
        given: Sequence[Instance] = (),
        **of: Any,
    ) -> Score:
        """Return the score of signals by a judge who sees nothing else."""
        right = int(judge.is_right(answers, wanted).sum())
        kind = "a kernel classifier" if judge.is_fitted else "filter-bank canonical correlation"
        return Score.of(
            right,
            len(wanted),
            judge=f"{kind}, right on {ceiling:.1%} of real test signals",
            details={"of_ceiling": right / max(len(wanted), 1) / ceiling},
            samples=_shown(judge.sense, answers, [each.name for each in wanted], given),
            **of,
        )


class Directions(QuintetSuite):
    """Any sense to any sense: what is made or said has the digit that was given."""

    def measure_all(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Scores:
        """Yield a score for every pair of senses, words among them."""
        count = min(limit or self.count, self.count)
        for source in (TEXT, *self.senses):
            for target in (TEXT, *self.senses):
                yield f"{source} to {target}", self._score(pipeline, source, target, count, seed)

    def _score(self, pipeline: Pipeline, source: str, target: str, count: int, seed: int) -> Score:
        digits = [Instance(TEXT, number % 10, {}, None) for number in range(count)]
        given = digits if source == TEXT else self.signals(source, count, seed=1)
        prompts = [self._prompt(each, target) for each in given]
        answers = self.ask(pipeline, prompts, target, seed)
        if target == TEXT:
            return matched(answers, [each.name for each in given], given, input=source)
        tried = COMMANDS if (source, target) == (TEXT, "image") else ()
        judge, ceiling = judges(target)["digit"]
        return self.judged(answers, digits, judge, ceiling, given, input=source, output=target, commands=tried)

    def _prompt(self, given: Instance, target: str) -> list[Any]:
        if given.sense == TEXT:
            if target == TEXT:
                return [words.choose(words.WORDS[0], None).format(given.digit)]
            return [wish(Instance(target, given.digit, {}, None))]
        asked = words.READ if target == TEXT else words.SAME_DIGIT[target]
        return [given.part, words.choose(asked, None)]


class AttributesAsked(QuintetSuite):
    """Attributes asked for in words: what is made has them."""

    def measure_all(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Scores:
        """Yield a score for every attribute of every sense."""
        for sense in self.senses:
            for attribute, values in words.ATTRIBUTES[sense].items():
                wanted = [
                    Instance(sense, number % 10, {attribute: values[number // 10 % len(values)]}, None)
                    for number in range(min(limit or self.count, self.count))
                ]
                made = self.ask(pipeline, [wish(each) for each in wanted], sense, seed)
                judge = judges(sense)[attribute]
                score = self.judged(made, wanted, *judge, input=f"{TEXT}: {attribute}", output=sense)
                yield f"{sense} {attribute}", score


class AttributesRead(QuintetSuite):
    """Attributes read: what is said of a signal is so."""

    def measure_all(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Scores:
        """Yield a score for every attribute of every sense."""
        for sense in self.senses:
            given = self.signals(sense, min(limit or self.count, self.count), seed=2)
            for attribute in words.ATTRIBUTES[sense]:
                question = words.choose(words.ASK[attribute], None)
                said = self.ask(pipeline, [[each.part, question] for each in given], TEXT, seed)
                wanted = [each.attributes[attribute] for each in given]
                yield f"{sense} {attribute}", matched(said, wanted, given, input=sense, output=f"{TEXT}: {attribute}")


class Compared(QuintetSuite):
    """Two signals of any senses: the same digit or not."""

    def measure_all(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Scores:
        """Yield one score over all pairs of senses."""
        noise, count = np.random.default_rng([seed, 5]), min(limit or self.count, self.count)
        prompts: list[Any] = []
        wanted: list[str] = []
        for number in range(count):
            senses = noise.choice(self.senses, 2)
            is_same = number % 2 == 0
            digit = number // 2 % 10
            digits = [digit, digit if is_same else words.other(digit, noise)]
            pair = [self._draw(str(sense), each, noise) for sense, each in zip(senses, digits, strict=True)]
            prompts.append([*(each.part for each in pair), words.choose(words.COMPARE, None)])
            wanted.append(words.ANSWERS[is_same])
        said = self.ask(pipeline, prompts, TEXT, seed)
        yield "", matched(said, wanted, (), input="two signals")

    def _draw(self, sense: str, digit: int, noise: np.random.Generator) -> Instance:
        return self.world.draw(sense, digit, noise, fold=self.fold)


class Checked(QuintetSuite):
    """A signal and a digit in words: is it that one? Of every other pair it is another."""

    def measure_all(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Scores:
        """Yield a score for every sense."""
        noise, count = np.random.default_rng([seed, 8]), min(limit or self.count, self.count)
        for sense in self.senses:
            given = self.signals(sense, count, seed=3)
            is_so = noise.permutation(count) % 2 == 0
            prompts: list[Any] = []
            for each, so in zip(given, is_so, strict=True):
                digit = each.digit if so else words.other(each.digit, noise)
                prompts.append([each.part, words.check(sense, words.NAMES[digit], None)])
            said = self.ask(pipeline, prompts, TEXT, seed)
            yield sense, matched(said, [words.NO_YES[int(so)] for so in is_so], given, input=f"{sense}: is it?")


class Copied(QuintetSuite):
    """The same handwriting as a picture or as a solid: what is made is nearer to it than to any other of a hundred."""

    def measure_all(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Scores:
        """Yield a score for either direction; its ceiling is that of another real signal of the handwriting."""
        for source, target in (("image", "point_cloud"), ("point_cloud", "image")):
            noise = np.random.default_rng([seed, 6])
            chosen = np.concatenate([self.world.written(digit)[: CANDIDATES // 10] for digit in range(10)])
            given = [self._draw(source, int(number), noise) for number in chosen]
            real = [self._draw(target, int(number), noise).media for number in chosen]
            index = HandwritingIndex([int(number) for number in chosen], self.world, target)
            asked = given[: min(limit or self.count, len(given))]
            phrase = words.choose(words.THIS_VERY_ONE[target], None)
            made = self.ask(pipeline, [[each.part, phrase] for each in asked], target, seed)
            ceiling = float((index.find(real) == chosen).mean())
            right = int((index.find(made) == chosen[: len(made)]).sum())
            yield (
                f"{source} to {target}",
                Score.of(
                    right,
                    len(made),
                    input=f"{source}: this very one",
                    output=target,
                    judge=f"the nearest of {CANDIDATES} handwritings; of real signals {ceiling:.1%}",
                    details={"of_ceiling": right / max(len(made), 1) / ceiling},
                    samples=_shown(target, made, [each.name for each in asked], asked),
                ),
            )

    def _draw(self, sense: str, number: int, noise: np.random.Generator) -> Instance:
        digit = int(self.world.labels[number])
        return self.world.draw(sense, digit, noise, handwriting=number)


class HandwritingIndex:
    """Finds whose handwriting a picture or a solid is: the nearest, over slants or tilts."""

    def __init__(self, numbers: Sequence[int], world: World, sense: str) -> None:
        self.look = image_digit if sense == "image" else cloud_digit
        kinds = SLANT if sense == "image" else TILT
        key, other = ("slant", {"colour": "black"}) if sense == "image" else ("tilt", {"size": "large"})
        noise = np.random.default_rng(0)
        shown = [(n, kind) for n in numbers for kind in kinds for _ in range(4)]
        media = [world.shown(sense, number, {key: kind, **other}, noise) for number, kind in shown]
        self.vectors = np.stack([self.look(each) for each in media])
        self.numbers = np.array([number for number, _ in shown])

    def find(self, media: Sequence[Any]) -> Array:
        """Return the number of the handwriting of each medium (N,)."""
        vectors = np.stack([self.look(each) for each in media])
        return self.numbers[distances(vectors, self.vectors).argmin(1)]


def wish(wanted: Instance) -> str:
    """Return how something is asked for in words, as it never was in training."""
    return words.wish(wanted.sense, wanted.name, wanted.attributes, None)


def matched(
    said: Sequence[str], wanted: Sequence[str], given: Sequence[Instance], *, input: str, output: str = TEXT
) -> Score:
    """Return the score of words that must be those that are wanted."""
    right = sum(answer == name for answer, name in zip(said, wanted, strict=True))
    samples = _shown(TEXT, [None] * len(said), said, given)
    return Score.of(right, len(wanted), input=input, output=output, judge="exact match", samples=samples)


def _shown(sense: str, made: Sequence[Any], captions: Sequence[str], given: Sequence[Instance]) -> tuple[Sample, ...]:
    sources = [None if each.sense == TEXT else Sample(each.name, each.sense, each.media) for each in given[:SHOWN]]
    triples = zip_longest(captions[:SHOWN], made[:SHOWN], sources)
    return tuple(Sample(caption or "?", sense, each, source) for caption, each, source in triples)
