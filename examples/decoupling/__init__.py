"""The paper's ablation, repeatable: should reading and writing share an encoder? On senses of the quintet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, CodecConfig, EncoderBlock, MetricConfig, SourceConfig
from polyjanus.encoders.shared import QuantiserSettings
from polyjanus.examples.quintet import Sense

if TYPE_CHECKING:
    from polyjanus.examples.decoupling.scores import DecouplingSuite
    from polyjanus.examples.decoupling.semantic import SemanticCodec
    from polyjanus.examples.decoupling.source import PlainRows


class SemanticFsqConfig(CodecConfig, QuantiserSettings):
    """A semantic tokenizer: what an encoder that learned to read sees, rounded (FSQ), and drawn again from that.

    It learns to give back the encoder's features as well as the signal; the encoder stays as it was.
    """

    modality_types = ("grid", "eeg")

    type: Literal["semantic_fsq"]
    encoder: EncoderBlock = Field(description="a patch2d of a grid, or an eeg_patch")
    teacher: str | None = Field(
        default=None, description="where the encoder was trained: RUN:component.path; not needed once it is saved"
    )
    width: int = Field(default=32, gt=0, multiple_of=8, description="channels of the decoder")
    seconds: float = Field(default=2.0, gt=0, description="length of EEG; cut, or filled up with zeros")

    def resolve(self, context: BuildContext) -> SemanticFsqConfig:
        """Return these settings without the teacher, whose weights are then the codec's own."""
        return self.model_copy(update={"teacher": None})

    def build(self, context: BuildContext) -> SemanticCodec:
        """Return the codec, its weights fresh."""
        from polyjanus.examples.decoupling.semantic import build_codec

        encoder = self.encoder.build(context)
        return build_codec(encoder, context, levels=self.levels, width=self.width, seconds=self.seconds)

    def load(self, component: Any, context: BuildContext) -> None:
        """Give the encoder what it learned elsewhere."""
        if self.teacher is not None:
            from polyjanus.examples.decoupling.semantic import take_encoder

            take_encoder(component.encoder, self.teacher, context)


class DecouplingConfig(SourceConfig):
    """One sense of the quintet: which digit it is, or one to be made; handwriting is black and upright."""

    type: Literal["decoupling"]
    task: Literal["read", "write"] = Field(description="read: which digit is it; write: make one")
    sense: Sense = Field(description="whose signals are read or made")
    rows: int = Field(default=100_000, gt=0, description="conversations of an epoch; their signals are made anew")

    def build(self, context: BuildContext) -> PlainRows:
        """Return the rows."""
        from polyjanus.examples.decoupling.source import PlainRows
        from polyjanus.examples.quintet.world import open_world

        return PlainRows(open_world("train"), self.task, self.sense, self.rows)


class DecouplingScoresConfig(MetricConfig):
    """Reading and writing of one sense of the quintet, on handwriting and people that no model met."""

    type: Literal["decoupling_scores"]
    of: Literal["read", "write", "rebuilt"] = Field(
        description="read: the digit; write: the digit asked for, with the pipeline's guidance and without;"
        " rebuilt: the digit that a judge still finds after the codec alone"
    )
    sense: Sense = Field(description="whose signals are read or made")
    count: int = Field(default=300, gt=9, description="questions per score, at most")

    def build(self, context: BuildContext) -> DecouplingSuite:
        """Return the metric."""
        from polyjanus.examples.decoupling.scores import SUITES

        return SUITES[self.of](self.sense, self.count)


@hookimpl
def register(registries: Registries) -> None:
    """Offer the tokenizer of arms B and C, and the scores of all."""
    registries.codecs.add(SemanticFsqConfig)
    registries.sources.add(DecouplingConfig)
    registries.metrics.add(DecouplingScoresConfig)
