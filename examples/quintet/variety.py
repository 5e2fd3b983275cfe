"""How varied the quintet's signals are that a model makes: neither all alike nor copies of what it was trained on."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from polyjanus.core.evaluation import Score
from polyjanus.core.judging import distances, variety
from polyjanus.core.pipeline import Pipeline
from polyjanus.encoders.eeg.recording import Recording
from polyjanus.examples.quintet.judges import LOOKS, signals
from polyjanus.examples.quintet.metrics import TEXT, QuintetSuite, Scores, wish
from polyjanus.examples.quintet.words import SENSES
from polyjanus.examples.quintet.world import FILE, FOLDS, Instance, open_world

Array = np.ndarray[Any, Any]
KNOWN, FRESH = 2000, 500
"""Signals as in training, and held-out ones, to which made ones are compared."""
NEAR = 0.01
"""Share of held-out signals that lie nearer to the training data than what is called a copy."""


class Varied(QuintetSuite):
    """Signals asked for in words: how many equal no other and are no copies of what was trained on."""

    def measure_all(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Scores:
        """Yield a score for every sense; speech needs the file that is trained on, and is left out without it."""
        for sense in self.senses:
            if sense == "audio" and not FILE.expanduser().is_file():
                continue
            wanted = [Instance(sense, number % 10, {}, None) for number in range(min(limit or self.count, self.count))]
            made = self.ask(pipeline, [wish(each) for each in wanted], sense, seed)
            vectors, labels = np.stack([look(sense, each) for each in made]), np.array([each.digit for each in wanted])
            fresh, known = _fresh(sense), _known(sense)
            is_new = distances(vectors, known).min(1) > np.quantile(distances(fresh, known).min(1), NEAR)
            _, place, counts = np.unique(vectors.round(6), axis=0, return_inverse=True, return_counts=True)
            right = int((is_new & (counts[place] == 1)).sum())
            yield (
                sense,
                Score.of(
                    right,
                    len(made),
                    input=TEXT,
                    output=sense,
                    judge=f"no copy, no repetition; of held-out real signals {1 - NEAR:.0%}",
                    details=variety(vectors, labels, fresh, np.arange(len(fresh)) % 10, known),
                ),
            )


def look(sense: str, media: Any) -> Array:
    """Return what a medium is compared by: what judges of its digit see, or the EEG itself, of unit length."""
    if isinstance(media, Recording):
        volts = media.volts.astype(np.float64).ravel()
        return volts / np.linalg.norm(volts)
    return LOOKS[sense]["digit"][0](media)


@cache
def _fresh(sense: str) -> Array:
    return np.stack([look(sense, each.media) for each in signals(open_world("test"), sense, FRESH, seed=8)])


@cache
def known_signals(sense: str) -> list[Instance]:
    """Return signals as they are trained on, over all folds."""
    world, noise = open_world("train"), np.random.default_rng([8, SENSES.index(sense)])
    return [world.draw(sense, number % 10, noise, fold=number // 10 % FOLDS) for number in range(KNOWN)]


@cache
def _known(sense: str) -> Array:
    return np.stack([look(sense, each.media) for each in known_signals(sense)])
