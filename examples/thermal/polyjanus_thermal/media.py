"""Thermal: loading, saving and showing. No torch here.

`load` and `save` are those of arrays, which read .npy and .npz files strictly. A signal with files of its own overrides
`load` and `save`, and raises MediaError for whatever is not what it claims to be.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from polyjanus.encoders.array.media import ArrayModality, GridArray


class ThermalModality(ArrayModality):
    """Arrays (C, H, W), shown from blue (`low`) to red (`high`)."""

    def preview(self, media: GridArray) -> bytes:
        """Return a PNG of the channels under each other."""
        share = np.concatenate(list(media.values)) - self.settings.low
        share = (share / (self.settings.high - self.settings.low)).clip(0, 1)
        colours = np.stack([share, 0.2 + 0 * share, 1 - share], axis=-1)
        zoom = max(1, 512 // max(share.shape))
        pixels = (colours * 255).astype(np.uint8).repeat(zoom, 0).repeat(zoom, 1)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        return stream.getvalue()
