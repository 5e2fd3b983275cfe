"""From a picture of any size to the square tensor that a network takes, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from polyjanus.encoders.shared.cells import GridPreparation, channelwise

JANUS_SIZE = 384
JANUS_MIN_SIDE = 14
"""Janus never lets the short side of a 384 square fall below this; smaller squares keep the proportion."""


@dataclass(frozen=True)
class Preparation(GridPreparation):
    """Square pixels of one size, and their normalisation."""

    size: int
    """Pixels a side."""
    resize: str = "pad"
    background: tuple[int, int, int] | None = None
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    channels: int = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (C, size, size)."""
        return self.channels, self.size, self.size

    def cells(self, media: Image.Image) -> Tensor:
        """Return the pixels (C, size, size), uint8, of a picture."""
        image = media.convert("RGB")
        square = {"pad": self._pad, "crop": self._crop, "stretch": self._stretch}[self.resize](image)
        if self.channels == 1:
            square = square.convert("L")
        values = np.asarray(square, dtype=np.uint8).reshape(self.size, self.size, self.channels)
        return torch.from_numpy(values.transpose(2, 0, 1).copy())

    def normalise(self, cells: Tensor) -> Tensor:
        """Return float32 values (B, C, H, W) of uint8 pixels, such as -1 to 1."""
        return (cells.float() / 255 - self._channel(self.mean, cells)) / self._channel(self.std, cells)

    def media(self, values: Tensor, *, truncates: bool = False) -> list[Image.Image]:
        """Return RGB pictures of normalised values (B, C, H, W), rounded, or truncated as DeepSeek's scripts do."""
        values = values.float()
        values = values * self._channel(self.std, values) + self._channel(self.mean, values)
        pixels = values * 255 if truncates else (values * 255).round()
        pixels = pixels.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return [Image.fromarray(item[..., 0] if self.channels == 1 else item).convert("RGB") for item in pixels]

    def _channel(self, numbers: Sequence[float], like: Tensor) -> Tensor:
        return channelwise(numbers[: self.channels], like)

    def _pad(self, image: Image.Image) -> Image.Image:
        """Fit the long side, rounding down, and paste in the middle of a square, as DeepSeek's code does."""
        long = max(image.size)
        least = max(1, JANUS_MIN_SIDE * self.size // JANUS_SIZE)
        width, height = (max(int(side / long * self.size), least) for side in image.size)
        resized = image.resize((width, height), Image.Resampling.BICUBIC)
        red, green, blue = self.background or tuple(int(value * 255) for value in self.mean)
        square = Image.new("RGB", (self.size, self.size), (red, green, blue))
        square.paste(resized, ((self.size - width) // 2, (self.size - height) // 2))
        return square

    def _crop(self, image: Image.Image) -> Image.Image:
        """Resize the middle square; what lies outside is never computed."""
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        return image.resize((self.size, self.size), Image.Resampling.BICUBIC, box=box)

    def _stretch(self, image: Image.Image) -> Image.Image:
        return image.resize((self.size, self.size), Image.Resampling.BICUBIC)
