"""Media and modalities: loading, saving and showing one kind of signal, in physical units, without torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

M = TypeVar("M")
C = TypeVar("C")


class Modality(ABC, Generic[M, C]):
    """One kind of signal. `M` is its medium (one loaded item), `C` its settings."""

    keys: ClassVar[tuple[str, ...]] = ("path",)
    """Names under which a content part may carry the source: `{"type": "image", "path": …}`."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """File suffixes that `load` understands; the first is what `save` writes."""

    def __init__(self, name: str, settings: C) -> None:
        self.name = name
        self.settings = settings

    @abstractmethod
    def load(self, source: Any, start: float | None = None, duration: float | None = None) -> M:
        """Return the medium in a file, in bytes or in an object of another library.

        `start` and `duration` are seconds. Anything that is not what it claims, or is over a limit
        of the settings, raises MediaError.
        """

    @abstractmethod
    def save(self, media: M, path: Path) -> None:
        """Write the medium to a file whose suffix says the format."""

    @abstractmethod
    def preview(self, media: M) -> bytes:
        """Return a PNG that shows a person what the medium holds."""

    def example(self) -> M:
        """Return a small medium for checks of shapes; needed by `inspect` and by the contract tests only."""
        raise NotImplementedError(f"{type(self).__name__} has no example")

    def accepts(self, source: Any) -> bool:
        """Tell whether a bare object, handed over without a type, is plainly of this modality."""
        return False
