"""Which rows each step takes: a function of seed, stage, step and place alone, so that a run can stop anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import lcm

import numpy as np

MAX_DENOMINATOR = 100


def pattern(mix: Mapping[str, float]) -> list[str]:
    """Return the shortest period of source names whose counts stand in the ratios of the mix, evenly interleaved."""
    drawn = {name: Fraction(ratio) for name, ratio in mix.items() if ratio > 0}
    if not drawn:
        raise ValueError("a mix needs at least one ratio above zero")
    least = min(drawn.values())  # ratios to it are at least 1, so that no source is rounded away
    shares = {name: (ratio / least).limit_denominator(MAX_DENOMINATOR) for name, ratio in drawn.items()}
    scale = lcm(*(share.denominator for share in shares.values()))
    counts = {name: int(share * scale) for name, share in shares.items()}
    places = [((k + 0.5) / count, name) for name, count in counts.items() for k in range(count)]
    return [name for _, name in sorted(places)]


@dataclass(frozen=True)
class Draw:
    """One place of a step: the source, its row, and the numbers that seed the row's own noise."""

    source: str
    index: int
    key: tuple[int, ...]

    def noise(self) -> np.random.Generator:
        """Return the noise of this row at this step."""
        return np.random.default_rng(self.key)

    def instead(self, attempt: int, size: int) -> Draw:
        """Return the row, of as many as `size`, that stands in for this one where so many could not be used."""
        key = (*self.key, attempt)
        return Draw(self.source, int(np.random.default_rng([*key, 3]).integers(size)), key)


@dataclass(frozen=True)
class Schedule:
    """The rows of one stage."""

    seed: int
    stage: int
    period: Sequence[str]
    sizes: Mapping[str, int]
    batch: int

    def draws(self, step: int) -> list[Draw]:
        """Return the rows of a step; every source is gone through in a new order each epoch."""
        return [self._draw(step, place) for place in range(self.batch)]

    def _draw(self, step: int, place: int) -> Draw:
        turn, rest = divmod(step * self.batch + place, len(self.period))
        name = self.period[rest]
        before = turn * self.period.count(name) + list(self.period[:rest]).count(name)
        epoch, index = divmod(before, self.sizes[name])
        order = _order(self.seed, self.stage, sorted(self.sizes).index(name), epoch, self.sizes[name])
        return Draw(name, int(order[index]), (self.seed, self.stage, step, place))


@lru_cache(maxsize=64)
def _order(seed: int, stage: int, source: int, epoch: int, size: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.random.default_rng([seed, stage, source, epoch, 1]).permutation(size)
