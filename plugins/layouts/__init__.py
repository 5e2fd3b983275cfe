"""Layouts: how the codes of an item become the steps of a sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, LayoutConfig

if TYPE_CHECKING:
    from polyjanus.plugins.layouts.frames import EndedLayout, GridLayout


class GridConfig(LayoutConfig):
    """One step per code, always as many as the codec has at most; no special codes (Janus: 24 x 24 steps)."""

    type: Literal["grid"]

    def build(self, context: BuildContext) -> GridLayout:
        """Return the layout."""
        from polyjanus.plugins.layouts.frames import GridLayout

        return GridLayout(context.cardinality, context.num_codebooks, context.max_codes)


class EndedConfig(LayoutConfig):
    """One step per code and a last one that says the end; items may differ in length."""

    type: Literal["ended"]

    def build(self, context: BuildContext) -> EndedLayout:
        """Return the layout."""
        from polyjanus.plugins.layouts.frames import EndedLayout

        lengths = (context.min_codes, context.max_codes)
        return EndedLayout(context.cardinality, context.num_codebooks, lengths)


@hookimpl
def register(registries: Registries) -> None:
    """Offer the layouts."""
    for settings in (GridConfig, EndedConfig):
        registries.layouts.add(settings)
