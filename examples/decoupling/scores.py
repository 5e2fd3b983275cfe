"""How well an arm reads and writes one sense, and what its codec alone leaves of a signal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from polyjanus.core.evaluation import Score, Suite
from polyjanus.core.judging import spread
from polyjanus.core.pipeline import Pipeline
from polyjanus.examples.decoupling.source import plain
from polyjanus.examples.quintet import words
from polyjanus.examples.quintet.judges import LOOKS, judges
from polyjanus.examples.quintet.world import Instance, open_world

Scores = Iterator[tuple[str, Score]]
TEXT = "text"
TOLD = 4
"""Tokens of an answer, at most."""
SAMPLERS: Mapping[str, Mapping[str, Any] | None] = {"guided": None, "unguided": {"type": "nucleus"}}
"""How an arm writes: with its own sampler, and without guidance."""


class DecouplingSuite(Suite):
    """Questions about one sense, phrased as none was in training, of handwriting and people that no model met."""

    def __init__(self, sense: str, count: int) -> None:
        self.sense, self.count = sense, count

    def given(self, limit: int | None) -> list[Instance]:
        """Return signals that nothing was trained or fitted on, digit after digit."""
        noise, count = np.random.default_rng(1), min(limit or self.count, self.count)
        return [plain(open_world("test"), self.sense, number % 10, noise) for number in range(count)]

    def judged(self, media: Sequence[Any], digits: Sequence[Instance], source: str) -> Score:
        """Return how many media have their digit, to a judge who sees nothing else."""
        judge, ceiling = judges(self.sense)["digit"]
        right = int(judge.is_right(media, digits).sum())
        known = f"a judge that is right on {ceiling:.1%} of real signals"
        more = {"details": self._spread(media, digits)}
        return Score.of(right, len(digits), input=source, output=self.sense, judge=known, **more)

    def _spread(self, media: Sequence[Any], digits: Sequence[Instance]) -> dict[str, float]:
        """Return how far pictures of one digit are from each other, as a share of how far real ones are."""
        if "digit" not in LOOKS[self.sense]:
            return {}
        look, labels = LOOKS[self.sense]["digit"][0], np.array([each.digit for each in digits])
        real = [each.media for each in self.given(len(media))]
        made, fresh = (np.stack([look(each) for each in some]) for some in (media, real))
        whole = spread(fresh, labels)
        return {"spread": spread(made, labels) / whole} if whole else {}  # of one picture per digit there is none


class Reading(DecouplingSuite):
    """Which digit it is."""

    def measure_all(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Scores:
        """Yield the one score."""
        given = self.given(limit)
        prompts = [[each.part, words.choose(words.READ, None)] for each in given]
        replies = pipeline.run_many(prompts, [TEXT], seed=seed, samplers={TEXT: "greedy"}, max_tokens=TOLD)
        right = sum(reply.text == each.name for reply, each in zip(replies, given, strict=True))
        yield "", Score.of(right, len(given), input=self.sense, output=TEXT, judge="exact match")


class Writing(DecouplingSuite):
    """The digit that words ask for."""

    def measure_all(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Scores:
        """Yield a score with guidance and one without."""
        digits = [Instance(TEXT, number % 10, {}, None) for number in range(min(limit or self.count, self.count))]
        prompts = [words.wish(self.sense, each.name, {}, None) for each in digits]
        for way, sampler in SAMPLERS.items():
            samplers = {} if sampler is None else {self.sense: sampler}
            replies = pipeline.run_many(prompts, [self.sense], seed=seed, samplers=samplers)
            yield way, self.judged([reply.media(self.sense)[0] for reply in replies], digits, TEXT)


class Rebuilding(DecouplingSuite):
    """What is left of real signals when they went through the codec and back: the ceiling of what an arm can write."""

    def measure(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Score:
        """Return the share whose digit a judge still finds."""
        given, codec = self.given(limit), pipeline.parts.modules[f"{self.sense}.generate.codec"]
        codes = codec.encode([codec.prepare(each.media) for each in given])  # type: ignore[operator]
        return self.judged(codec.decode(codes), given, self.sense)  # type: ignore[operator]

    def measure_all(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Scores:
        """Yield the one score."""
        yield "", self.measure(pipeline, limit=limit, seed=seed)


SUITES: Mapping[str, type[DecouplingSuite]] = {"read": Reading, "write": Writing, "rebuilt": Rebuilding}
