"""What items of varying length share whose files are text, one value a line: notes, moves, events. No torch here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from pydantic import Field

from polyjanus.core.errors import MediaError
from polyjanus.core.files import check_size, name_of, read_file
from polyjanus.core.modality import Modality
from polyjanus.core.settings import ModalityConfig
from polyjanus.encoders.shared.signals import to_png

Array = np.ndarray[Any, Any]
ZOOM, LEVELS = 12, 24
"""Pixels a side of a value in a preview, and values above each other, at most."""


@dataclass(frozen=True, eq=False)
class Lines:
    """What the lines of a file say: values (N,)."""

    values: Array


class LinesSettings(ModalityConfig):
    """How long an item may be; a plugin's own kind of them adds its `type` and what a line may say."""

    max_length: int = Field(default=64, gt=0, description="lines of an item, at most")
    max_bytes: int = Field(default=1_000_000, gt=0, description="bytes of a file, at most")


class LinesModality(Modality[Lines, Any]):
    """Values, one a line of a UTF-8 text file; a subclass says its suffix, what a line may say, and examples."""

    medium: ClassVar[type | None] = Lines

    @abstractmethod
    def read_line(self, line: str) -> float:
        """Return the value that a line says; a ValueError says what is wrong with it."""

    @abstractmethod
    def write_line(self, value: Any) -> str:
        """Return the line that says a value."""

    @abstractmethod
    def examples(self) -> Sequence[Lines]:
        """Return small items of several lengths."""

    def example(self) -> Lines:
        """Return the first of the examples."""
        return self.examples()[0]

    def load(self, source: Any, start: float | None = None, duration: float | None = None) -> Lines:
        """Return the values in a path or in bytes, at most `max_length` of them."""
        where, most = name_of(source, self.name), self.settings.max_length
        if start is not None or duration is not None:
            raise MediaError("it has no 'start' and no 'duration'", where=where, hint="lines are not in seconds")
        if isinstance(source, Lines):
            return source
        lines = self._text(source, where).splitlines()
        if not 0 < len(lines) <= most:
            raise MediaError(f"{len(lines)} lines; there may be 1 to {most}", where=where, hint="see 'max_length'")
        return Lines(np.array([self._value(line.strip(), f"{where}:{number}") for number, line in enumerate(lines, 1)]))

    def _text(self, source: Any, where: str) -> str:
        limit = self.settings.max_bytes
        content = read_file(source, max_bytes=limit) if isinstance(source, str | Path) else source
        if not isinstance(content, bytes):
            raise MediaError(f"a {type(source).__name__} holds no lines", where=where, hint="give a path or bytes")
        check_size(len(content), max_bytes=limit, where=where)
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MediaError(f"byte {error.start} is no UTF-8: it is no text", where=where) from error

    def _value(self, line: str, where: str) -> float:
        try:
            return self.read_line(line)
        except ValueError as error:
            raise MediaError(str(error)[:200], where=where) from error

    def save(self, media: Lines, path: Path) -> None:
        """Write a line per value."""
        if path.suffix.lower() not in self.suffixes:
            raise MediaError(f"cannot write {path.suffix!r}", where=str(path), hint=f"use {self.suffixes[0]}")
        path.write_text("".join(f"{self.write_line(value)}\n" for value in media.values), encoding="utf-8")

    def preview(self, media: Lines) -> bytes:
        """Return a PNG of the values from left to right, higher ones above lower ones."""
        values = media.values - media.values.min()
        levels = (values * min(1.0, (LEVELS - 1) / max(values.max(), 1))).round().astype(int)
        rows = np.arange(levels.max() + 1)[::-1, None] == levels
        return to_png(Image.fromarray((~rows * 255).astype(np.uint8).repeat(ZOOM, 0).repeat(ZOOM, 1)))

    def noise(self, media: Lines, generator: np.random.Generator) -> Lines:
        """Return as many values, each drawn from those of the examples."""
        known = np.concatenate([example.values for example in self.examples()])
        return Lines(generator.choice(known, len(media.values)))
