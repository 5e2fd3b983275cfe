"""Handwritten digits: a data set and two evaluations, registered like anybody's plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, MetricConfig, SourceConfig

if TYPE_CHECKING:
    from polyjanus.examples.digits.judges import DrawnDigits, ReadDigits
    from polyjanus.examples.digits.source import DigitRows


class DigitsConfig(SourceConfig):
    """Real handwriting (UCI optdigits, as in scikit-learn's load_digits), with a question or a request in words."""

    type: Literal["digits"]
    task: Literal["read", "draw"] = Field(description="'read' asks which digit it is, 'draw' asks for a picture")
    size: int = Field(default=32, gt=7, description="pixels a side")
    jitter: float = Field(default=1.0, ge=0, description="how far pictures are turned and shifted; 0 leaves them")

    def build(self, context: BuildContext) -> DigitRows:
        """Return the rows; held-out digits are never among them."""
        from polyjanus.examples.digits.source import DigitRows

        return DigitRows(self.task, self.size, self.jitter)


class ReadDigitsConfig(MetricConfig):
    """How many held-out digits are named rightly, by exact match."""

    type: Literal["digits_read"]
    size: int = Field(default=32, gt=7, description="pixels a side")

    def build(self, context: BuildContext) -> ReadDigits:
        """Return the metric."""
        from polyjanus.examples.digits.judges import ReadDigits

        return ReadDigits(self.size)


class DrawnDigitsConfig(MetricConfig):
    """How many drawn digits a classifier recognises that was fitted on real training pictures only; and how varied."""

    type: Literal["digits_drawn"]
    size: int = Field(default=32, gt=7, description="pixels a side")

    def build(self, context: BuildContext) -> DrawnDigits:
        """Return the metric."""
        from polyjanus.examples.digits.judges import DrawnDigits

        return DrawnDigits(self.size)


@hookimpl
def register(registries: Registries) -> None:
    """Offer the data set and its evaluations."""
    registries.sources.add(DigitsConfig)
    registries.metrics.add(ReadDigitsConfig)
    registries.metrics.add(DrawnDigitsConfig)
