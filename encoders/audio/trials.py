"""Settings of what there is to try sound on: a made-up data set and its evaluations. Importing this loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from polyjanus.core.settings import BuildContext, MetricConfig, SourceConfig

if TYPE_CHECKING:
    from polyjanus.encoders.audio.tones import MadeTones, NamedTones, ToneRows


class TonesConfig(SourceConfig):
    """Made-up sounds of ten names, with a question or a request in words: no files are needed."""

    type: Literal["tones"]
    task: Literal["name", "make"] = Field(description="'name' asks which sound it is, 'make' asks for one")
    rows: int = Field(default=2000, gt=0, description="sounds, each of a pitch and a loudness of its own")

    def build(self, context: BuildContext) -> ToneRows:
        """Return the rows."""
        from polyjanus.encoders.audio.tones import ToneRows

        return ToneRows(self.task, self.rows)


class TonesNamedConfig(MetricConfig):
    """How many made-up sounds are named rightly, by exact match."""

    type: Literal["tones_named"]

    def build(self, context: BuildContext) -> NamedTones:
        """Return the metric."""
        from polyjanus.encoders.audio.tones import NamedTones

        return NamedTones()


class TonesMadeConfig(MetricConfig):
    """How many sounds made on request a classifier recognises that was fitted on sounds as they are."""

    type: Literal["tones_made"]

    def build(self, context: BuildContext) -> MadeTones:
        """Return the metric."""
        from polyjanus.encoders.audio.tones import MadeTones

        return MadeTones()
