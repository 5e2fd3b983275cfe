"""Handwriting bent as nobody wrote it, the same way as a picture and as a solid.

A thousand strokes are few enough to be learned by heart; bent anew each time, they have to be looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
WAVES = np.pi * np.array([(1, 0), (0, 1), (1, 1), (1, -1)])
"""Radians per unit: half a wave and more over a digit."""
FAR, STRETCH = 0.04, (0.85, 1.05)
"""Standard deviation of each wave's shift, and from and to what share width and height are stretched."""


@dataclass(frozen=True)
class Bend:
    """A smooth map of a square from -1 to 1: waves in four directions, then a stretch of either axis."""

    shifts: Array
    phases: Array
    stretch: Array

    @classmethod
    def drawn(cls, noise: np.random.Generator) -> Bend:
        """Return any."""
        return cls(noise.normal(0, FAR, (4, 2)), noise.uniform(0, 2 * np.pi, (4, 2)), noise.uniform(*STRETCH, 2))

    def forward(self, points: Array) -> Array:
        """Return where points (..., 2) go; none leaves the square."""
        return ((points + self._shift(points)) * self.stretch).clip(-1, 1)

    def backward(self, points: Array) -> Array:
        """Return where points (..., 2) come from, to the first order."""
        back = points / self.stretch
        return back - self._shift(back)

    def _shift(self, points: Array) -> Array:
        return (np.sin((points @ WAVES.T)[..., None] + self.phases) * self.shifts).sum(-2)


class Still(np.random.Generator):
    """Noise of which nothing turns, moves or shades: all that may lie between two bounds lies in the middle."""

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        """Return the middle, as often as is asked for."""
        middle = (low + high) / 2
        return middle if size is None else np.full(size, middle)
