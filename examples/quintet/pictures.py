"""Handwriting as pictures: real digits of eight by eight cells, set upright, then coloured, slanted, turned and moved.

The digits are those of scikit-learn's load_digits (UCI optdigits, 43 people), which ship with `examples/digits`.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from PIL import Image

from polyjanus.examples.quintet.bending import Bend
from polyjanus.examples.quintet.words import Attributes

Array = np.ndarray[Any, Any]
SIDE = 32
CELLS, PAD, MESH = 10.4, 4, 4
"""Cells of ink to a side, which leaves room for slanting; empty cells around; pixels that are bent as one."""
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


def strokes(
    ink: Array,
    side: int,
    *,
    slant: float = 0.0,
    turn: float = 0.0,
    shift: Array | None = None,
    bend: Bend | None = None,
) -> Array:
    """Return the ink (8, 8) as ink (side, side): its own slant taken away, bent, slanted, turned (°) and moved (px)."""
    rows, columns = np.mgrid[:8, :8]
    total = float(ink.sum())
    y, x = float((ink * rows).sum()) / total, float((ink * columns).sum()) / total
    own = float((ink * (rows - y) * (columns - x)).sum() / max((ink * (rows - y) ** 2).sum(), 1e-6))
    angle = np.deg2rad(turn)
    turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * 2 / side
    upright = np.array([[1.0, slant], [0.0, 1.0]]) @ turned  # from pixels to the square from -1 to 1
    cells = np.array([[1.0, own], [0.0, 1.0]]) * CELLS / 2  # from there to cells
    middle = side / 2 + (np.zeros(2) if shift is None else shift)
    padded = Image.fromarray(np.pad(ink * 255, PAD).astype(np.uint8))
    centre = np.array([x, y]) + 0.5 + PAD
    if bend is None:
        back = cells @ upright
        offset = centre - back @ middle
        affine = (*back[0], offset[0], *back[1], offset[1])
        image = padded.transform((side, side), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)
    else:
        edges = np.stack(np.meshgrid(*[np.arange(0, side + 1, MESH)] * 2), axis=2)
        source = bend.backward((edges - middle) @ upright.T) @ cells.T + centre
        image = padded.transform((side, side), Image.Transform.MESH, _mesh(edges, source), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32) / 255


def _mesh(edges: Array, source: Array) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Return squares of pixels, and from where their corners come: upper left, lower left, lower right, upper right."""
    count = len(edges) - 1
    return [
        (
            (*edges[row, column].tolist(), *edges[row + 1, column + 1].tolist()),
            tuple(source[[row, row + 1, row + 1, row], [column, column, column + 1, column + 1]].ravel().tolist()),
        )
        for row in range(count)
        for column in range(count)
    ]


def render(number: int, attributes: Attributes, noise: np.random.Generator, bend: Bend | None = None) -> Image.Image:
    """Return the picture, RGB, 32 x 32, of a handwriting in a colour, slanted; all else comes from `noise`."""
    ink = handwriting()[0][number]
    slant = noise.uniform(*SLANT[attributes["slant"]])
    turn, shift = noise.uniform(-TURN, TURN), noise.uniform(-SHIFT, SHIFT, 2)
    drawn = strokes(ink, SIDE, slant=slant, turn=turn, shift=shift, bend=bend)
    colour = np.array(INK[attributes["colour"]]) + noise.uniform(-SHADE, SHADE, 3)
    paper = noise.uniform(*PAPER)
    strength = (drawn * noise.uniform(1.0, 1.3)).clip(0, 1)[..., None]
    return Image.fromarray((paper + (colour - paper) * strength).clip(0, 255).astype(np.uint8))
