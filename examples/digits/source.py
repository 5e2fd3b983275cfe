"""The digits: 1797 pictures of 8 x 8 pixels by 43 people, split by sample with a fixed seed."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from polyjanus.core.data.rows import Row, Source

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
QUESTIONS = ("Which digit is this?", "What digit do you see?", "Read this digit.")
REQUESTS = ("Draw a {}.", "Draw the digit {}.", "Write a {} by hand.")
HELD_OUT = 360


class Digits(NamedTuple):
    """Pictures (N, 8, 8), uint8 from 0 (paper) to 16 (ink), and the digit in each (N,)."""

    pictures: np.ndarray[Any, np.dtype[np.uint8]]
    labels: np.ndarray[Any, np.dtype[np.int64]]


@cache
def load_digits(*, held_out: bool) -> Digits:
    """Return the training digits, or those that nothing is ever trained on."""
    with np.load(str(files("polyjanus.examples.digits") / "digits.npz")) as archive:
        pictures, labels = archive["pictures"], archive["labels"].astype(np.int64)
    order = np.random.default_rng(20241017).permutation(len(labels))
    kept = np.sort(order[:HELD_OUT] if held_out else order[HELD_OUT:])
    return Digits(pictures[kept], labels[kept])


def render(picture: np.ndarray[Any, Any], size: int, angle: float = 0.0, dx: float = 0.0, dy: float = 0.0) -> Any:
    """Return the picture (size, size), uint8, dark on white, turned by degrees and shifted by shares of its side."""
    ink = Image.fromarray(np.pad((picture * 255.0 / 16).astype(np.uint8), 1))
    large = ink.resize((size, size), Image.Resampling.BICUBIC)
    moved = large.rotate(angle, Image.Resampling.BICUBIC, translate=(round(dx * size), round(dy * size)))
    return 255 - np.asarray(moved)


class DigitRows(Source):
    """Questions about digits, or requests for them, with their answers."""

    def __init__(self, task: str, size: int, jitter: float) -> None:
        self.task, self.size, self.jitter = task, size, jitter
        self.digits = load_digits(held_out=False)

    def __len__(self) -> int:
        """Return the number of training digits."""
        return len(self.digits.labels)

    def row(self, index: int, noise: np.random.Generator) -> Row:
        """Return one conversation about the digit of that number."""
        angle, dx, dy = noise.uniform(-1, 1, 3) * self.jitter * np.array([8.0, 0.05, 0.05])
        picture = render(self.digits.pictures[index], self.size, angle, dx, dy)
        name = NAMES[self.digits.labels[index]]
        part = {"type": "image", "image": picture}
        if self.task == "read":
            asked: list[Any] = [part, QUESTIONS[noise.integers(len(QUESTIONS))]]
            answer: list[Any] = [name]
        else:
            asked = [REQUESTS[noise.integers(len(REQUESTS))].format(name)]
            answer = [part]
        return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
