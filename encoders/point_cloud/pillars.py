"""Point clouds as grids: points per cell, layers of height as channels (as PointPillars, arXiv 1812.05784).

Shape letters: B items, P points, Z layers, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from polyjanus.encoders.point_cloud.cloud import Array
from polyjanus.encoders.point_cloud.media import PointCloud
from polyjanus.encoders.point_cloud.places import Cube
from polyjanus.encoders.shared.cells import GridPreparation

TYPICAL = 512
"""Points of the cloud whose cells networks see: of a cloud with more, each counts for less."""


@dataclass(frozen=True)
class PillarPreparation(GridPreparation):
    """Cells (Z, Y, X) of a box around the origin, y upwards; what is rebuilt are logits of where points lie.

    The box is as wide and as deep as the cube, and `height` of that high.
    """

    cube: Cube
    height: float
    layers: int
    side: int
    points: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (Z, Y, X)."""
        return self.layers, self.side, self.side

    def cells(self, media: PointCloud) -> Tensor:
        """Return how many points lie in each cell (Z, Y, X), float32, of `TYPICAL`; z outside counts as at its edge."""
        places = (self.cube.inside(media.xyz) / (1, 1, self.height) + 1) / 2
        x, y, z = ((places * self._sizes).astype(np.int64)).clip(0, self._sizes - 1).T
        counts = np.bincount(np.ravel_multi_index((z, self.side - 1 - y, x), self.shape), minlength=prod(self.shape))
        return torch.from_numpy((counts * (TYPICAL / len(media))).astype(np.float32)).unflatten(0, self.shape)

    def normalise(self, cells: Tensor) -> Tensor:
        """Return values (B, Z, Y, X): 0 where no point is, as in most cells, 1 where one of `TYPICAL` is, up to 2."""
        return 2 - 2 / (1 + cells.float())

    def difference(self, rebuilt: Tensor, cells: Tensor) -> Tensor:
        """Return the Kullback-Leibler divergence (B,), in nats, of where points are rebuilt from where they are."""
        found = rebuilt.float().flatten(1).log_softmax(1)
        wanted = cells.float().flatten(1) / cells.float().flatten(1).sum(1, keepdim=True)
        return torch.nn.functional.kl_div(found, wanted, reduction="none").sum(1)

    def media(self, values: Tensor, *, truncates: bool = False) -> Sequence[PointCloud]:
        """Return clouds of `points` points of logits (B, Z, Y, X); always the same."""
        shares = values.double().flatten(1).softmax(1).cpu().numpy()
        return [PointCloud(self._drawn(each)) for each in shares]

    @property
    def _sizes(self) -> Array:
        return np.array([self.side, self.side, self.layers])

    def _drawn(self, shares: Array) -> Array:
        """Return points (P, 3) in metres, evenly drawn from cells, each somewhere in its cell."""
        ends = np.cumsum(shares)
        chosen = np.searchsorted(ends / ends[-1], (np.arange(self.points) + 0.5) / self.points)
        z, y, x = np.unravel_index(chosen, self.shape)
        corners = np.stack([x, self.side - 1 - y, z], axis=1)
        inside = np.random.default_rng(0).random(corners.shape)
        return self.cube.metres(((corners + inside) / self._sizes * 2 - 1) * (1, 1, self.height))
