"""Handwriting as pictures: real digits of eight by eight cells, set upright, then coloured, slanted, turned and moved.

The digits are those of scikit-learn's load_digits (UCI optdigits, 43 people), which ship with `examples/digits`.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from PIL import Image

from polyjanus.examples.quintet.words import Attributes

Array = np.ndarray[Any, Any]
SIDE = 32
INK = {"red": (205, 35, 35), "green": (25, 140, 60), "blue": (45, 70, 205), "black": (25, 25, 25)}
SLANT = {"left": (-0.5, -0.3), "right": (0.3, 0.5), "upright": (-0.07, 0.07)}
"""How far the top is moved to the right, per unit of height: from, to."""
TURN, SHIFT, SHADE, PAPER = 6.0, 1.2, 14.0, (236, 255)
"""Degrees, pixels, levels of a colour, and the grey of paper, at most or from and to."""


@cache
def handwriting() -> tuple[Array, Array]:
    """Return all digits, ink (N, 8, 8) from 0 to 1, float32, and which digit each is (N,)."""
    with np.load(str(files("polyjanus.examples.digits") / "digits.npz")) as archive:
        return archive["pictures"].astype(np.float32) / 16, archive["labels"].astype(np.int64)


def strokes(ink: Array, side: int, *, slant: float = 0.0, turn: float = 0.0, shift: Array | None = None) -> Array:
    """Return the ink (8, 8) as ink (side, side): its own slant taken away, then slanted, turned (°) and moved (px)."""
    rows, columns = np.mgrid[:8, :8]
    total = float(ink.sum())
    y, x = float((ink * rows).sum()) / total, float((ink * columns).sum()) / total
    own = float((ink * (rows - y) * (columns - x)).sum() / max((ink * (rows - y) ** 2).sum(), 1e-6))
    scale = side / 10.4  # room for slanting
    angle = np.deg2rad(turn)
    turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    back = np.array([[1.0, own + slant], [0.0, 1.0]]) @ turned  # from pixels (x, y) to cells
    middle = (side - 1) / 2 + (np.zeros(2) if shift is None else shift)
    offset = np.array([x, y]) + 0.5 - back @ (middle + 0.5)
    coefficients = (back[0, 0], back[0, 1], offset[0], back[1, 0], back[1, 1], offset[1])
    padded = np.pad(ink * 255, 4).astype(np.uint8)
    coefficients = (*coefficients[:2], coefficients[2] + 4, *coefficients[3:5], coefficients[5] + 4)
    image = Image.fromarray(padded).transform(
        (side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC
    )
    return np.asarray(image, dtype=np.float32) / 255


def render(number: int, attributes: Attributes, noise: np.random.Generator) -> Image.Image:
    """Return the picture, RGB, 32 x 32, of a handwriting in a colour, slanted; all else comes from `noise`."""
    ink = handwriting()[0][number]
    slant = noise.uniform(*SLANT[attributes["slant"]])
    drawn = strokes(ink, SIDE, slant=slant, turn=noise.uniform(-TURN, TURN), shift=noise.uniform(-SHIFT, SHIFT, 2))
    colour = np.array(INK[attributes["colour"]]) + noise.uniform(-SHADE, SHADE, 3)
    paper = noise.uniform(*PAPER)
    strength = (drawn * noise.uniform(1.0, 1.3)).clip(0, 1)[..., None]
    return Image.fromarray((paper + (colour - paper) * strength).clip(0, 255).astype(np.uint8))
