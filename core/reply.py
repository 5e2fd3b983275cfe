"""What a pipeline answers, put together from the events of one row."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from polyjanus.core.generation.events import Event, MediaReady, TextDelta
from polyjanus.core.modality import Modality


@dataclass
class Reply:
    """What a pipeline answered: `parts` in order, each `{"type": name, …}` with text or the medium."""

    parts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    modalities: Mapping[str, Modality[Any, Any]] = field(default_factory=dict[str, Modality[Any, Any]], repr=False)

    @property
    def text(self) -> str:
        """Return all text of the reply."""
        return "".join(part["text"] for part in self.parts if part["type"] == "text").strip()

    def media(self, modality: str) -> list[Any]:
        """Return all items of one modality, in order."""
        return [part["media"] for part in self.parts if part["type"] == modality]

    def __getattr__(self, name: str) -> Any:
        """Return the first item of the modality of that name: `reply.image`."""
        if name.startswith("_") or name not in self.modalities:
            raise AttributeError(f"no modality {name!r} in this reply's pipeline")
        found = self.media(name)
        return found[0] if found else None

    def _repr_html_(self) -> str:
        """Show text and previews in a notebook."""
        blocks: list[str] = []
        for part in self.parts:
            if part["type"] == "text":
                blocks.append(f"<p>{html.escape(part['text'])}</p>")
            else:
                picture = b64encode(self.modalities[part["type"]].preview(part["media"])).decode()
                blocks.append(f'<img alt="{part["type"]}" src="data:image/png;base64,{picture}">')
        return "\n".join(blocks)

    def add(self, event: Event) -> None:
        """Take an event of this reply's row."""
        if isinstance(event, TextDelta):
            if self.parts and self.parts[-1]["type"] == "text":
                self.parts[-1]["text"] += event.text
            else:
                self.parts.append({"type": "text", "text": event.text.lstrip(" ")})
        elif isinstance(event, MediaReady):
            self.parts.append({"type": event.modality, "media": event.media})
