"""The parts of Point-BERT, named as in the published checkpoints (PointLLM, Point-MAE).

Shape letters: B items, N tokens, G groups, M points of a group, C channels of a point, d width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polyjanus.encoders.shared.blocks import Block


class GroupEncoder(nn.Module):
    """A group of points to one vector: a small PointNet with its maximum fed back (arXiv 2111.14819, section 3.1)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(
            nn.Conv1d(channels, 128, 1), nn.BatchNorm1d(128), nn.ReLU(), nn.Conv1d(128, 256, 1)
        )
        self.second_conv = nn.Sequential(
            nn.Conv1d(512, 512, 1), nn.BatchNorm1d(512), nn.ReLU(), nn.Conv1d(512, width, 1)
        )

    def forward(self, groups: Tensor) -> Tensor:
        """Return vectors (B, G, d) of groups (B, G, M, C)."""
        points = groups.flatten(0, 1).transpose(1, 2)
        local = self.first_conv(points)
        shared = local.amax(dim=2, keepdim=True).expand_as(local)
        return self.second_conv(torch.cat([shared, local], dim=1)).amax(dim=2).unflatten(0, groups.shape[:2])


class Blocks(nn.Module):
    """Layers, before each of which the positions are added again, as Point-BERT does."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Return tokens (B, N, d) of tokens and positions (B, N, d)."""
        for block in self.blocks:
            tokens = block(tokens + positions)
        return tokens


def position_embedding(width: int) -> nn.Sequential:
    """Return the network from centres (…, 3) to positions (…, d)."""
    return nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, width))
