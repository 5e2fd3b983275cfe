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
    """One step per code, always as many as the codec has at most; no special codes (Janus: 24 x 24 steps).

    The cheapest: N steps. The columns of several code books are drawn at once, none sees another of its frame.
    """

    type: Literal["grid"]

    def build(self, context: BuildContext) -> GridLayout:
        """Return the layout."""
        from polyjanus.plugins.layouts.frames import GridLayout

        return GridLayout(context.cardinality, context.num_codebooks, context.max_codes)


class EndedConfig(LayoutConfig):
    """One step per code and a last one for the end; several books are drawn at once, blind to each other.

    Items may differ in length. It costs N + 1 steps; with several code books all columns of a frame are predicted at
    once and independently, which blurs what the books say together.
    """

    type: Literal["ended"]

    def build(self, context: BuildContext) -> EndedLayout:
        """Return the layout."""
        from polyjanus.plugins.layouts.frames import EndedLayout

        lengths = (context.min_codes, context.max_codes)
        return EndedLayout(context.cardinality, context.num_codebooks, lengths)


class FlatConfig(LayoutConfig):
    """One step per code, book after book: K times the steps, each book sees all before it (AnyGPT, arXiv 2402.12226).

    Items may differ in length. It costs K · N steps, of training and of writing, and loses nothing between the books.
    """

    type: Literal["flat"]

    def build(self, context: BuildContext) -> FlatLayout:
        """Return the layout; where the codec's items differ in length, a code of its own says the end."""
        from polyjanus.plugins.layouts.books import FlatLayout

        lengths = (context.min_codes, context.max_codes)
        return FlatLayout(context.cardinality, context.num_codebooks, lengths)


class DelayConfig(LayoutConfig):
    """One step per frame, each book one step behind: sees the books before it in N + K - 1 steps (arXiv 2306.05284).

    Items may differ in length. Between `ended` and `flat`: nearly the steps of the first, and a book sees those before
    it in its frame, as with the second. It is MusicGen's.
    """

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
