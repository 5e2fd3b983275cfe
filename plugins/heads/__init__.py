"""Heads: from hidden states to the logits of one modality's next frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, HeadConfig

if TYPE_CHECKING:
    from polyjanus.plugins.heads.modules import LinearHead, MlpHead


class LinearHeadConfig(HeadConfig):
    """One linear layer per frame; its columns are predicted at once."""

    type: Literal["linear"]

    def build(self, context: BuildContext) -> LinearHead:
        """Return the head."""
        from polyjanus.plugins.heads.modules import LinearHead

        return LinearHead(context.d_model, context.num_codebooks, context.cardinality)


class MlpHeadConfig(HeadConfig):
    """Two linear layers with GELU between: Janus' image head; the columns of a frame are predicted at once."""

    type: Literal["mlp"]
    hidden: int | None = Field(default=None, gt=0, description="inner width; that of the backbone when absent")

    def build(self, context: BuildContext) -> MlpHead:
        """Return the head."""
        from polyjanus.plugins.heads.modules import MlpHead

        hidden = self.hidden or context.d_model
        return MlpHead(context.d_model, hidden, context.num_codebooks, context.cardinality)


@hookimpl
def register(registries: Registries) -> None:
    """Offer the heads."""
    for settings in (LinearHeadConfig, MlpHeadConfig):
        registries.heads.add(settings)
