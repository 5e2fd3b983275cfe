"""Sources of no modality: rows of typed parts in a JSON Lines file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, SourceConfig

if TYPE_CHECKING:
    from polyjanus.core.data.jsonl import JsonLines


class JsonlConfig(SourceConfig):
    """A file with one JSON object per line: `{"messages": […]}` of typed parts, or `{"text": …}` learned whole."""

    type: Literal["jsonl"]
    path: str = Field(description="the file; ./ and ../ start at the YAML's folder")
    root: str | None = Field(default=None, description="folder that paths inside parts start from; the file's own")

    def build(self, context: BuildContext) -> JsonLines:
        """Return the rows."""
        from polyjanus.core.data.jsonl import JsonLines

        return JsonLines(context.locate_file(self.path), None if self.root is None else context.locate_file(self.root))


@hookimpl
def register(registries: Registries) -> None:
    """Offer the sources."""
    registries.sources.add(JsonlConfig)
