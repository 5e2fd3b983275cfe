"""A reply shown while it is written: text as it comes, a bar per medium on a terminal, files as they finish."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polyjanus.core.cli.common import log
from polyjanus.core.errors import MediaError
from polyjanus.core.generation.events import Event, MediaProgress, MediaReady, TextDelta
from polyjanus.core.modality import Modality

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from polyjanus.core.pipeline import Pipeline


class Writer:
    """Takes the events of some rows; `path_of(row, modality)` says where an item goes.

    Text goes to stdout as it comes if `shows_text`; bars go to stderr if that is a terminal.
    """

    def __init__(
        self, pipeline: Pipeline, path_of: Callable[[int, str], Path], rows: int = 1, *, shows_text: bool = True
    ) -> None:
        self.pipeline, self.path_of, self.shows_text = pipeline, path_of, shows_text
        self.rows: list[list[dict[str, Any]]] = [[] for _ in range(rows)]
        """The parts of each row: text, or the medium and the path that it was written to."""
        self._bars: Progress | None = None
        self._tasks: dict[int, TaskID] = {}

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_bars()

    def take(self, event: Event) -> None:
        """Show an event and keep what it brings."""
        if isinstance(event, TextDelta):
            self._add_text(event)
        elif isinstance(event, MediaProgress):
            self._move_bar(event)
        elif isinstance(event, MediaReady):
            self._add_media(event)

    def _add_text(self, event: TextDelta) -> None:
        parts = self.rows[event.row]
        if parts and parts[-1]["type"] == "text":
            parts[-1]["text"] += event.text
            shown = event.text
        else:
            parts.append({"type": "text", "text": event.text})
            shown = event.text.lstrip()
        if self.shows_text:
            click.echo("".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in shown), nl=False)

    def _add_media(self, event: MediaReady) -> None:
        path = self.path_of(event.row, event.modality)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.pipeline.compiler.modalities[event.modality].save(event.media, path)
        self._end_line(event.row)
        if self._bars is not None and event.row in self._tasks:
            self._bars.remove_task(self._tasks.pop(event.row))
        if not self._tasks:
            self._close_bars()
        log(f"wrote {path}")
        self.rows[event.row].append({"type": event.modality, "media": event.media, "path": str(path)})

    def _end_line(self, row: int) -> None:
        """End the line of text that an item interrupts."""
        parts = self.rows[row]
        if self.shows_text and parts and parts[-1]["type"] == "text":
            click.echo()

    def _move_bar(self, event: MediaProgress) -> None:
        if not sys.stderr.isatty():
            return
        if self._bars is None:
            from rich.console import Console
            from rich.progress import Progress

            self._bars = Progress(console=Console(stderr=True), transient=True)
            self._bars.start()
        if event.row not in self._tasks:
            self._tasks[event.row] = self._bars.add_task(event.modality, total=event.max_steps)
        self._bars.update(self._tasks[event.row], completed=event.step)

    def _close_bars(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def numbered(path: Path, *numbers: int) -> Path:
    """Return the path with numbers before its suffix."""
    return path.with_name("-".join([path.stem, *map(str, numbers)]) + path.suffix) if numbers else path


def was_saved(modality: Modality[Any, Any], media: Any, path: Path) -> bool:
    """Write a medium and tell whether that was possible; a library that is not installed is named, and no fault."""
    try:
        modality.save(media, path)
    except MediaError as error:
        log(f"{path} is left out: {error}")
        return False
    return True
