"""Scores with intervals, and the metrics that give them; who judges is always said."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any

from polyjanus.core.pipeline import Pipeline
from polyjanus.core.settings import BuildContext


@dataclass(frozen=True)
class Sample:
    """One answer to show: what was asked, the medium that was read or drawn, and what came of it."""

    caption: str
    modality: str
    media: Any


@dataclass(frozen=True)
class Score:
    """A share of right answers with its 95 % interval, by a judge that is named."""

    input: str
    output: str
    score: float
    low: float
    high: float
    n: int
    judge: str
    details: dict[str, float] = field(default_factory=dict[str, float])
    samples: tuple[Sample, ...] = ()
    commands: tuple[str, ...] = ()
    """What a person could try next: the words after `polyjanus run PIPELINE`."""

    @classmethod
    def of(cls, right: int, n: int, *, input: str, output: str, judge: str, **more: Any) -> Score:
        """Return the score of `right` answers out of `n`."""
        low, high = wilson(right, n)
        return cls(input, output, right / max(n, 1), low, high, n, judge, **more)

    def as_row(self) -> dict[str, Any]:
        """Return the score as plain data, samples left out."""
        names = ("input", "output", "score", "low", "high", "n", "judge", "details")
        return {name: getattr(self, name) for name in names}


def wilson(right: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (Wilson, JASA 1927)."""
    if n == 0:
        return 0.0, 1.0
    share = right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - reach), min(1.0, middle + reach)


class Metric(ABC):
    """One evaluation of a pipeline."""

    @abstractmethod
    def measure(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Score:
        """Ask the pipeline and judge its answers; `limit` asks that many times at most."""


def evaluate(pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Iterator[tuple[str, Score]]:
    """Yield the name and the score of every evaluation in the pipeline's YAML."""
    for name, settings in pipeline.config.evaluation.items():
        metric: Metric = settings.build(BuildContext(path=f"evaluation.{name}", folder=Path()))
        yield name, metric.measure(pipeline, limit=limit, seed=seed)
