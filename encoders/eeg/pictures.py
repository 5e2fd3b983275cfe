"""A picture of EEG: traces, and the head from above with the amplitude of each electrode. NumPy and PIL alone."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from polyjanus.encoders.shared.signals import Array, draw_traces, to_png

SIDE, RADIUS = 320, 130
"""Pixels of the square around the head, and of the head."""
HEAD_METRES = 0.115
"""How far from the middle, seen from above and unrolled, the head's drawn edge lies."""
BLUR_METRES = 0.035
COLD, MIDDLE, WARM = np.array([60, 90, 200.0]), np.array([245, 245, 245.0]), np.array([200, 50, 40.0])


def draw_recording(volts: Array, sample_rate: float, names: Sequence[str], positions: Array) -> bytes:
    """Return a PNG: traces in microvolts on the left, the root mean square of each electrode on the head."""
    traces = Image.open(io.BytesIO(draw_traces(volts * 1e6, sample_rate, names)))
    image = Image.new("RGB", (traces.width + SIDE, max(traces.height, SIDE + 24)), (255, 255, 255))
    image.paste(traces, (0, 0))
    seen = np.isfinite(positions).all(1)
    if seen.any():
        amplitude = volts[seen].std(1) * 1e6
        image.paste(_head(amplitude, flattened(positions[seen])), (traces.width, 0))
        words = f"{amplitude.min():.3g} to {amplitude.max():.3g} uV"
        ImageDraw.Draw(image).text((traces.width + SIDE // 2 - 50, SIDE), words, fill=(90, 90, 90))
    return to_png(image)


def flattened(positions: Array) -> Array:
    """Return places (C, 2) in metres of electrodes (C, 3) seen from above, the scalp unrolled."""
    spread = np.linalg.norm(positions, axis=1).clip(min=1e-6)
    angle = np.arccos((positions[:, 2] / spread).clip(-1, 1))
    flat = positions[:, :2]
    length = np.linalg.norm(flat, axis=1, keepdims=True).clip(min=1e-9)
    return flat / length * (angle * HEAD_METRES / (np.pi / 2))[:, None]


def _head(values: Array, places: Array) -> Image.Image:
    """Return the head from above, nose up: values smoothed over it, and a dot per electrode."""
    centre = SIDE / 2
    rows, columns = np.mgrid[:SIDE, :SIDE]
    across, along = ((columns - centre) * HEAD_METRES / RADIUS, (centre - rows) * HEAD_METRES / RADIUS)
    distance = (across[..., None] - places[:, 0]) ** 2 + (along[..., None] - places[:, 1]) ** 2
    weight = np.exp(-distance / (2 * BLUR_METRES**2)) + 1e-9
    smooth = (weight * values).sum(-1) / weight.sum(-1)
    low, high = float(values.min()), float(values.max())
    shade = ((smooth - low) / max(high - low, 1e-12))[..., None]
    colours = np.where(shade < 0.5, COLD + (MIDDLE - COLD) * shade * 2, MIDDLE + (WARM - MIDDLE) * (shade * 2 - 1))
    inside = np.hypot(rows - centre, columns - centre) <= RADIUS
    image = Image.fromarray(np.where(inside[..., None], colours, 255).astype(np.uint8))
    pencil = ImageDraw.Draw(image)
    edge = centre - RADIUS
    pencil.ellipse([edge, edge, SIDE - edge, SIDE - edge], outline=(60, 60, 60), width=2)
    pencil.line([(centre - 12, edge + 2), (centre, edge - 14), (centre + 12, edge + 2)], fill=(60, 60, 60), width=2)
    for x, y in places * RADIUS / HEAD_METRES:
        pencil.ellipse([centre + x - 2, centre - y - 2, centre + x + 2, centre - y + 2], fill=(30, 30, 30))
    return image
