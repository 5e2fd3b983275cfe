"""Ten digits, five senses: a world of pictures, speech, solids, EEG and words, registered like anybody's plugin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, MetricConfig, SourceConfig

if TYPE_CHECKING:
    from polyjanus.examples.quintet.metrics import QuintetSuite
    from polyjanus.examples.quintet.source import QuintetRows

Sense = Literal["image", "audio", "point_cloud", "eeg"]
ALL: tuple[Sense, ...] = ("image", "audio", "point_cloud", "eeg")
Senses = Annotated[tuple[Sense, ...], Field(strict=False, min_length=1)]


class QuintetConfig(SourceConfig):
    """Digits as real handwriting, speech, solids and simulated EEG, asked about and asked for in words."""

    type: Literal["quintet"]
    task: Literal["read", "ask", "describe", "write", "cross", "copy", "compare", "check", "both", "words"] = Field(
        description="read: which digit; ask: what it is like; write: make one; cross: the same digit in another sense;"
        " copy: the same handwriting as picture or solid; compare: the same digit?; check: is it a seven?;"
        " both: sound and picture; words: 7"
    )
    senses: Senses = Field(default=ALL, description="signals that take part")
    rows: int = Field(default=40_000, gt=19, description="conversations of an epoch; their signals are made anew")
    file: Path | None = Field(default=None, description="speech; ~/.cache/polyjanus/quintet.npz when absent")

    def build(self, context: BuildContext) -> QuintetRows:
        """Return the rows."""
        from polyjanus.examples.quintet.source import QuintetRows
        from polyjanus.examples.quintet.world import FILE, World

        return QuintetRows(World("train", self.file or FILE), self.task, self.senses, self.rows)


class QuintetScoresConfig(MetricConfig):
    """Scores on people, voices and handwriting that no model met, in phrases that none was trained on."""

    type: Literal["quintet_scores"]
    of: Literal["directions", "asked", "named", "compared", "checked", "copied", "varied", "rated"] = Field(
        description="directions: any sense to any; asked, named: attributes made and read; compared: the same digit or"
        " not; checked: is it a seven?; copied: the same handwriting as picture or solid, found among a hundred;"
        " varied: neither all alike nor copies of training data; rated: the best of 1, 4 and 8, as it rates them itself"
    )
    senses: Senses = Field(default=ALL, description="signals that take part")
    count: int = Field(default=100, gt=9, description="questions per score, at most")
    guided: bool = Field(default=True, description="the pipeline's own samplers; else temperature 1 and no guidance")

    fold: int | None = Field(
        default=None, ge=0, lt=20, description="fold of the training data, to choose settings by; the test split else"
    )

    def build(self, context: BuildContext) -> QuintetSuite:
        """Return the metric."""
        from polyjanus.examples.quintet.suites import SUITES
        from polyjanus.examples.quintet.world import open_world

        world = None if self.fold is None else open_world("train")
        return SUITES[self.of](self.count, self.senses, guided=self.guided, world=world, fold=self.fold or 0)


@hookimpl
def register(registries: Registries) -> None:
    """Offer the data set and its evaluations."""
    registries.sources.add(QuintetConfig)
    registries.metrics.add(QuintetScoresConfig)
