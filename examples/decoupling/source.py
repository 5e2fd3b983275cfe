"""Rows of one sense of the quintet, plain: which digit it is, or one to be made. Nothing is asked but the digit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from polyjanus.core.data.rows import Row, Source
from polyjanus.examples.quintet import words
from polyjanus.examples.quintet.world import Instance, World

PLAIN: Mapping[str, str] = {"colour": "black", "slant": "upright"}
"""What pictures are like; EEG is as it comes."""


class PlainRows(Source):
    """Reading or writing one sense; all of a row comes from its noise."""

    def __init__(self, world: World, task: str, sense: str, rows: int) -> None:
        self.world, self.task, self.sense, self.rows = world, task, sense, rows

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.rows

    def row(self, index: int, noise: np.random.Generator) -> Row:
        """Return one conversation."""
        signal = plain(self.world, self.sense, int(noise.integers(10)), noise)
        if self.task == "read":
            asked: list[Any] = [signal.part, words.choose(words.READ, noise)]
            answer: list[Any] = [signal.name]
        else:
            asked = [words.wish(self.sense, signal.name, {}, noise)]
            answer = [signal.part]
        return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}


def plain(world: World, sense: str, digit: int, noise: np.random.Generator) -> Instance:
    """Return a signal of a digit: a picture in black, or EEG."""
    if sense != "image":
        return world.draw(sense, digit, noise)
    number = int(noise.choice(world.written(digit)))
    return Instance(sense, digit, PLAIN, world.shown(sense, number, PLAIN, noise), number)
