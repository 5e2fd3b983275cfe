"""A pipeline of the quintet as its own judge: what the best of several is worth, and how well it ranks them."""

from __future__ import annotations

from typing import Any

import numpy as np

from polyjanus.core.evaluation import Score
from polyjanus.core.judging import ranking
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.rating import rate
from polyjanus.examples.quintet import words
from polyjanus.examples.quintet.judges import judges
from polyjanus.examples.quintet.metrics import TEXT, QuintetSuite, Scores, wish
from polyjanus.examples.quintet.world import Instance

COUNTS = (1, 4, 8)
"""Candidates of which the best is kept."""


class Rated(QuintetSuite):
    """Signals asked for in words, of which the pipeline keeps the one that it is surest of."""

    def measure_all(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Scores:
        """Yield, for every sense, the independent judges' score of the best of 1, 4 and 8."""
        for sense in self.senses:
            count = min(limit or self.count, self.count)
            wanted = [Instance(sense, number % 10, {}, None) for number in range(count) for _ in range(max(COUNTS))]
            made = self.ask(pipeline, [wish(each) for each in wanted], sense, seed)
            sure = np.array([_rated(pipeline, each, medium) for each, medium in zip(wanted, made, strict=True)])
            judge, ceiling = judges(sense)["digit"]
            is_right = judge.is_right(made, wanted)
            area = ranking(sure, is_right)
            sure, is_right = sure.reshape(count, -1), is_right.reshape(count, -1)
            for best_of in COUNTS:
                right = int(is_right[np.arange(count), sure[:, :best_of].argmax(1)].sum())
                yield (
                    f"{sense} best of {best_of}",
                    Score.of(
                        right,
                        count,
                        input=f"{TEXT}, best of {best_of}",
                        output=sense,
                        judge=f"an independent judge, right on {ceiling:.1%} of real test signals",
                        details={"of_ceiling": right / count / ceiling, "self_score_auc": area},
                    ),
                )


def _rated(pipeline: Pipeline, wanted: Instance, medium: Any) -> float:
    """Return how probable the pipeline finds that it would read a signal as what was asked for."""
    signal = {"type": wanted.sense, wanted.sense: medium}
    return rate(pipeline, [signal], words.choose(words.READ, None), wanted.name)
