"""Media and modalities: loading, saving and showing one kind of signal, in physical units, without torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

import numpy as np

M = TypeVar("M")
C = TypeVar("C")


class Modality(ABC, Generic[M, C]):
    """One kind of signal. `M` is its medium (one loaded item), `C` its settings."""

    keys: ClassVar[tuple[str, ...]] = ("path",)
    """Names under which a content part may carry the source: `{"type": "image", "path": …}`."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """File suffixes that `load` understands; the first is what `save` writes."""
    medium: ClassVar[type | None] = None
    """The class of the medium, where it is a dataclass of arrays, numbers, texts and tuples of these.

    Such a medium is decoded in a process of its own; so is any other whose modality has `pack` and `unpack`.
    """

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

    def examples(self) -> Sequence[M]:
        """Return `example`, and where items vary in length or size others that do: the contract tests batch them."""
        return (self.example(),)

    def noise(self, media: M, generator: np.random.Generator) -> M:
        """Return a medium of the same form that says nothing: its largest array as noise of equal mean and deviation.

        An evaluation asks a model about it as a control.
        """
        packed = dict(self.pack(media))
        arrays: dict[str, Any] = {key: value for key, value in packed.items() if isinstance(value, np.ndarray)}
        name = max(arrays, key=lambda each: arrays[each].size)
        values = arrays[name]
        drawn = cast(Any, generator).normal(values.mean(), values.std(), values.shape)
        if values.dtype.kind in "iu":
            limits = np.iinfo(values.dtype)
            drawn = drawn.round().clip(limits.min, limits.max)
        packed[name] = drawn.astype(values.dtype)
        return self.unpack(packed)

    def files_of(self, path: Path) -> Sequence[Path] | None:
        """Return every file that `load` reads for a path, or None where a file may name others that cannot be told.

        What was computed from a file is used again as long as the bytes of these files are the same.
        """
        return None if path.is_dir() else (path,)

    def accepts(self, source: Any) -> bool:
        """Tell whether a bare object, handed over without a type, is plainly of this modality."""
        return self.medium is not None and isinstance(source, self.medium)

    def pack(self, media: M) -> Mapping[str, Any]:
        """Return the medium as arrays, numbers, texts and tuples of these, by name; `unpack` makes it again."""
        if self.medium is None or not is_dataclass(self.medium):
            raise NotImplementedError(f"{type(self).__name__} does not say how its medium is packed")
        return {field.name: getattr(media, field.name) for field in fields(self.medium)}

    def unpack(self, packed: Mapping[str, Any]) -> M:
        """Return the medium that was packed."""
        if self.medium is None:
            raise NotImplementedError(f"{type(self).__name__} does not say how its medium is unpacked")
        return self.medium(**packed)
