"""The torch side of `point_patch`: groups of points, a maximum over each, a small transformer."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from polyjanus.core.modules import Encoder, Grid, Prepared
from polyjanus.encoders.point_cloud.blocks import Blocks, position_embedding
from polyjanus.encoders.point_cloud.groups import Grouping
from polyjanus.encoders.point_cloud.media import PointCloud


class PointPatchEncoder(Encoder):
    """One feature per group, the groups in Morton order, so that neighbours in space mostly follow each other.

    A point is seen relative to its centre and as it lies in the cloud. There are no batch statistics.
    """

    def __init__(self, grouping: Grouping, *, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.grouping = replace(grouping, sorts_centres=True)
        self.width = width
        self.local = nn.Sequential(
            nn.Linear(grouping.channels + 3, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, width)
        )
        self.joined = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))
        self.positions = position_embedding(width)
        self.layers = Blocks(width, heads, depth)
        self.norm = nn.LayerNorm(width)

    def prepare(self, media: PointCloud) -> Prepared:
        """Return `groups` (G, M, C) and `centres` (G, 3)."""
        return self.grouping.make(media)

    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return the number of groups."""
        return self.grouping.groups, None

    def forward_stacked(self, groups: Tensor, centres: Tensor) -> Tensor:
        """Return features (B, G, d) of groups (B, G, M, C) and centres (B, G, 3)."""
        spread = centres.unsqueeze(2).expand(-1, -1, groups.shape[2], -1)
        local = self.local(torch.cat([groups, groups[..., :3] + spread], dim=-1))
        shared = local.amax(dim=2, keepdim=True).expand_as(local)
        tokens = self.joined(torch.cat([shared, local], dim=-1)).amax(dim=2)
        return self.norm(self.layers(tokens, self.positions(centres)))
