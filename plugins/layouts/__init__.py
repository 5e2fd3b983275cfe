"""Layouts: how the codes of an item become the steps of a sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, LayoutConfig

if TYPE_CHECKING:
    from polyjanus.plugins.layouts.books import DelayLayout, FlatLayout
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


class FlatConfig(LayoutConfig):
    """One step per code, book after book, each book with codes of its own (AnyGPT, arXiv 2402.12226)."""

    type: Literal["flat"]

    def build(self, context: BuildContext) -> FlatLayout:
        """Return the layout; where the codec's items differ in length, a code of its own says the end."""
        from polyjanus.plugins.layouts.books import FlatLayout

        lengths = (context.min_codes, context.max_codes)
        return FlatLayout(context.cardinality, context.num_codebooks, lengths)


class DelayConfig(LayoutConfig):
    """One step per frame, each code book one step behind the one before it (MusicGen, arXiv 2306.05284)."""

    type: Literal["delay"]

    def build(self, context: BuildContext) -> DelayLayout:
        """Return the layout; where the codec's items differ in length, the first book says the end."""
        from polyjanus.plugins.layouts.books import DelayLayout

        lengths = (context.min_codes, context.max_codes)
        return DelayLayout(context.cardinality, context.num_codebooks, lengths)


@hookimpl
def register(registries: Registries) -> None:
    """Offer the layouts."""
    for settings in (GridConfig, EndedConfig, FlatConfig, DelayConfig):
        registries.layouts.add(settings)
