"""Scores with intervals, and the metrics that give them; who judges is always said."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from pathlib import Path
from typing import Any, cast

import numpy as np

from polyjanus.core.metrics import build_metrics, told
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.prompts import Prompt
from polyjanus.core.reply import Reply

CONTROLS = ("noise", "shuffled", "nothing")
"""What a model is asked about in place of the inputs: noise, the inputs of other trials, or nothing at all."""


@dataclass(frozen=True)
class Sample:
    """One answer to show: what was asked, or came of it, the medium that was read or drawn, and what it came from."""

    caption: str
    modality: str
    media: Any
    given: Sample | None = None
    """The medium that was read, where another is shown."""


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
    controls: dict[str, Score] = field(default_factory=dict[str, "Score"])
    """The same evaluation without what the inputs say, by the name of the control."""

    @property
    def is_above_controls(self) -> bool:
        """Tell whether the score lies above the interval of every control."""
        return all(self.score > control.high for control in self.controls.values())

    @classmethod
    def of(cls, right: int, n: int, *, input: str, output: str, judge: str, **more: Any) -> Score:
        """Return the score of `right` answers out of `n`."""
        low, high = wilson(right, n)
        return cls(input, output, right / max(n, 1), low, high, n, judge, **more)

    def as_row(self) -> dict[str, Any]:
        """Return the score as plain data, samples left out."""
        names = ("input", "output", "score", "low", "high", "n", "judge", "details")
        row = {name: getattr(self, name) for name in names}
        if self.controls:
            known = ("score", "low", "high", "n")
            row["controls"] = {k: {name: getattr(v, name) for name in known} for k, v in self.controls.items()}
            row["above_controls"] = self.is_above_controls
        return row


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

    def measure_all(
        self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0
    ) -> Iterator[tuple[str, Score]]:
        """Yield the scores by name; one that is measured as many overrides this, and its names tell them apart."""
        yield "", self.measure(pipeline, limit=limit, seed=seed)

    def examples(self, seed: int = 0) -> Iterator[Sample]:
        """Yield held-out media for a person to try, one of each modality; a metric that has some overrides this."""
        yield from ()


class Suite(Metric):
    """An evaluation of many scores."""

    def measure(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Score:
        """Return the first score."""
        return next(self.measure_all(pipeline, limit=limit, seed=seed))[1]

    @abstractmethod
    def measure_all(
        self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0
    ) -> Iterator[tuple[str, Score]]:
        """Yield the scores by name; `limit` asks that many times at most, for each."""


def evaluate(
    pipeline: Pipeline,
    *,
    limit: int | None = None,
    seed: int = 0,
    with_controls: bool = False,
    folder: Path | None = None,
    only: Sequence[str] = (),
) -> Iterator[tuple[str, Score]]:
    """Yield the name and the score of every evaluation in the pipeline's YAML, or of those in `only`.

    With controls, each that reads media is done again with noise, with the media of other trials, and with none.
    Relative paths start at `folder`, else where the process is.
    """
    for name, metric in build_metrics(pipeline.config, folder or Path(), only).items():
        with told(name, pipeline.config.evaluation[name]):
            for part, score in _measured(pipeline, metric, limit, seed, with_controls):
                yield f"{name}.{part}" if part else name, score


def _measured(
    pipeline: Pipeline, metric: Metric, limit: int | None, seed: int, with_controls: bool
) -> Iterator[tuple[str, Score]]:
    """Yield the scores of one evaluation, each with its controls."""
    robbed = [Controlled(pipeline, control, seed) for control in CONTROLS if with_controls]
    again = [metric.measure_all(cast(Pipeline, asked), limit=limit, seed=seed) for asked in robbed]
    for part, score in metric.measure_all(pipeline, limit=limit, seed=seed):
        controls: dict[str, Score] = {}
        for asked, others in zip(robbed, again, strict=True):
            before, (_, found) = asked.replaced, next(others)
            if asked.replaced > before:
                controls[asked.control] = found
        yield part, replace(score, controls=controls)


class Controlled:
    """A pipeline whose prompts are robbed of what their media say; in all else it is the pipeline itself."""

    def __init__(self, pipeline: Pipeline, control: str, seed: int) -> None:
        self._pipeline, self.control = pipeline, control
        self._noise = np.random.default_rng([seed, CONTROLS.index(control)])
        self.replaced = 0
        """Media that were replaced so far."""

    def __getattr__(self, name: str) -> Any:
        """Return what the pipeline has."""
        return getattr(self._pipeline, name)

    def run(self, prompt: Prompt, output: Sequence[str] = ("text",), **options: Any) -> Reply:
        """Return the reply to one prompt without what it says."""
        return self.run_many([prompt], output, **options)[0]

    def run_many(self, prompts: Sequence[Prompt], output: Sequence[str] = ("text",), **options: Any) -> list[Reply]:
        """Return the replies to prompts without what they say."""
        robbed = [[dict(message) for message in self._pipeline.messages(prompt)] for prompt in prompts]
        parts = [
            (content, index)
            for messages in robbed
            for message in messages
            for content in [_contents(message)]
            for index, part in enumerate(content)
            if isinstance(part, dict) and part["type"] != "text"
        ]
        self.replaced += len(parts)
        if self.control == "shuffled":
            given = [content[index] for content, index in parts]
            for place, (content, index) in enumerate(parts):
                content[index] = given[self._other(given, place)]
        elif self.control == "noise":
            for content, index in parts:
                content[index] = self._noisy(content[index])
        else:
            for content, index in reversed(parts):
                del content[index]
        return self._pipeline.run_many(robbed, output, **options)

    def _other(self, given: Sequence[Any], place: int) -> int:
        """Return a random part of the same modality that is not the one at `place`, where there is one."""
        same = [i for i, part in enumerate(given) if part["type"] == given[place]["type"] and i != place]
        return int(self._noise.choice(same)) if same else place

    def _noisy(self, part: dict[str, Any]) -> dict[str, Any]:
        modality = self._pipeline.compiler.modalities[part["type"]]
        key = next(key for key in (part["type"], *modality.keys) if key in part)
        media = self._pipeline.compiler.load(part["type"], part[key], part.get("start"), part.get("duration"))
        return {"type": part["type"], modality.keys[0]: modality.noise(media, self._noise)}


def _contents(message: dict[str, Any]) -> list[Any]:
    """Return the parts of a message as a list of its own, which stands in the message from now on."""
    content = message["content"]
    parts = cast("list[Any]", [content] if isinstance(content, str) else list(content))
    message["content"] = parts
    return parts
