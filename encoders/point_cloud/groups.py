"""Groups of neighbouring points around centres that lie far apart: what Point-BERT and its kin look at.

They are made where a cloud is prepared, in float32 on the CPU, so that neither a batch, nor half precision, nor the
kernels of a device change which points are neighbours. Shape letters: P points, G groups, M points of a group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from polyjanus.encoders.point_cloud.cloud import Array, PointCloud
from polyjanus.encoders.point_cloud.places import drawn, farthest_from_centre, farthest_points, in_order, morton

BITS = 6
"""Cells a side, as a power of two, by which centres are put in order."""


@dataclass(frozen=True)
class Grouping:
    """How a cloud becomes groups."""

    points: int
    """Points that are looked at, at most."""
    groups: int
    group_size: int
    channels: int = 3
    """3 for coordinates, 6 with colours; unknown colours are black, as in PointLLM's data sets."""
    start: str = "canonical"
    """'first' keeps the order of the points and begins with the first; 'canonical' does not depend on their order."""
    normalise: bool = True
    """Whether a cloud is moved to its mean and scaled to radius 1 (`pc_norm` of Point-BERT and PointLLM)."""
    sorts_centres: bool = False
    """Whether groups come in Morton order, and not in the order of sampling."""

    def make(self, cloud: PointCloud) -> dict[str, Tensor]:
        """Return `groups` (G, M, C), relative to their `centres` (G, 3); both float32."""
        rows = self._rows(cloud)
        xyz = rows[:, :3].astype(np.float64)
        if self.normalise:
            xyz -= xyz.mean(axis=0)
            radius = float(np.linalg.norm(xyz, axis=1).max())
            xyz *= 1 / radius if radius else 0.0
        rows = np.concatenate([xyz.astype(np.float32), rows[:, 3:]], axis=1)
        first = farthest_from_centre(xyz) if self.start == "canonical" else 0
        chosen = farthest_points(rows[:, :3], self.groups, first)
        if self.sorts_centres:
            chosen = chosen[np.argsort(_places(xyz[chosen]), kind="stable")]
        centres = rows[chosen, :3]
        members = rows[self._neighbours(xyz, chosen)]
        members[..., :3] -= centres[:, None]
        return {"groups": torch.from_numpy(members), "centres": torch.from_numpy(centres)}

    def _rows(self, cloud: PointCloud) -> Array:
        """Return points with their colours (P, C), enough of them for groups to be whole."""
        rows = cloud.xyz
        if self.channels > 3:
            rows = np.concatenate([rows, np.zeros_like(rows) if cloud.rgb is None else cloud.rgb], axis=1)
        if self.start == "canonical":
            rows = in_order(rows)
        rows = drawn(rows, self.points)
        least = max(self.groups, self.group_size)
        return rows if len(rows) >= least else rows[np.arange(least) % len(rows)]

    def _neighbours(self, xyz: Array, chosen: Array) -> Array:
        """Return the numbers (G, M) of the nearest points of each centre, in their order."""
        centres = xyz[chosen]
        distances = (xyz**2).sum(axis=1) - 2 * centres @ xyz.T  # the centre's own square changes no order
        nearest = np.argpartition(distances, self.group_size - 1, axis=1)[:, : self.group_size]
        return np.sort(nearest, axis=1)


def _places(centres: Array) -> Array:
    """Return the Morton numbers of centres in the box that holds them."""
    low = centres.min(axis=0)
    side = float((centres.max(axis=0) - low).max())
    return morton((centres - low) * ((2**BITS - 1) / side if side else 0.0), BITS)
