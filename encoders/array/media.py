"""Arrays on a regular grid, from NumPy files.

Shape letters: C channels, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image

from polyjanus.core.errors import MediaError
from polyjanus.core.files import name_of
from polyjanus.encoders.shared.arrays import array_of
from polyjanus.encoders.shared.grids import GridModality
from polyjanus.encoders.shared.signals import to_png

if TYPE_CHECKING:
    from polyjanus.encoders.shared.cells import GridPreparation

Array = np.ndarray[Any, Any]
PREVIEW_SIDE = 512
"""Pixels of the long side of a preview, about."""


@dataclass(frozen=True, eq=False)
class GridArray:
    """Values (C, H, W), float32, in the units of the modality."""

    values: Array


class ArrayModality(GridModality[GridArray, Any]):
    """Arrays of the shape that the YAML declares. The settings are an ArrayConfig."""

    keys: ClassVar[tuple[str, ...]] = ("array", "path")
    suffixes: ClassVar[tuple[str, ...]] = (".npy", ".npz")
    medium = GridArray

    def load(self, source: Any, start: float | None = None, duration: float | None = None) -> GridArray:
        """Return the array in a path, in bytes or in a NumPy array, of the declared shape.

        (H, W) does for one channel, and (W,) for one channel of one row. An .npz file holds one array.
        """
        where = name_of(source, self.name)
        if start is not None or duration is not None:
            raise MediaError("an array has no 'start' and no 'duration'", where=where, hint="use 'timeseries'")
        if isinstance(source, GridArray):
            source = source.values
        values = array_of(source, where, noun="array", max_bytes=self.settings.max_bytes)
        wanted = tuple(self.settings.shape)
        given = (1,) * (3 - values.ndim) + values.shape
        if given != wanted:
            raise MediaError(
                f"an array of shape {values.shape}; the modality declares {list(wanted)}",
                where=where,
                hint="channels come first, then rows, then columns",
            )
        return GridArray(values.reshape(wanted))

    def save(self, media: GridArray, path: Path) -> None:
        """Write .npy (C, H, W), or .npz with one array named `values`."""
        if path.suffix.lower() == ".npy":
            np.save(path, media.values)
        elif path.suffix.lower() == ".npz":
            np.savez(path, values=media.values)
        else:
            raise MediaError(f"cannot write arrays of suffix {path.suffix!r}", where=str(path), hint="use .npy or .npz")

    def preview(self, media: GridArray) -> bytes:
        """Return a PNG of the channels under each other, in grey from `low` to `high`."""
        low, high = self.settings.low, self.settings.high
        rows = np.concatenate(list(media.values))
        shades = ((rows - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
        zoom = max(1, PREVIEW_SIDE // max(shades.shape))
        shades = shades.repeat(zoom, 0).repeat(zoom, 1)
        return to_png(Image.fromarray(shades))

    def example(self) -> GridArray:
        """Return waves that run across the array, with noise that is always the same."""
        channels, height, width = self.settings.shape
        channel, row, column = np.mgrid[:channels, :height, :width]
        waves = np.sin(row / 3 + channel) * np.cos(column / 5) / 2
        waves += np.random.default_rng(0).uniform(-0.4, 0.4, waves.shape)
        low, high = self.settings.low, self.settings.high
        return GridArray(((waves + 1) / 2 * (high - low) + low).astype(np.float32))

    def grid(self, *, size: int | None = None, channels: int | None = None, resize: str = "crop") -> GridPreparation:
        """Return the way to cells; arrays have one size, the modality's own."""
        from polyjanus.encoders.array.cells import ArrayPreparation

        return ArrayPreparation(tuple(self.settings.shape), self.settings.low, self.settings.high)
