"""The torch side of `point_bert`: PointLLM's and Point-MAE's encoder, tensors named as published."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polyjanus.core.modules import Encoder, Grid, Prepared
from polyjanus.encoders.point_cloud.blocks import Blocks, GroupEncoder, position_embedding
from polyjanus.encoders.point_cloud.groups import Grouping
from polyjanus.encoders.point_cloud.media import PointCloud

SPREAD = 0.02
"""Standard deviation of a fresh class token (Point-MAE's)."""


class PointBertEncoder(Encoder):
    """One feature per group, after one of the whole cloud where the architecture has a class token.

    Sources: OpenRobotLab/PointLLM `pointllm/model/pointbert`, Pang-Yatian/Point-MAE `models/Point_MAE.py`.
    """

    def __init__(
        self, grouping: Grouping, *, width: int, depth: int, heads: int, encoder_width: int, has_class_token: bool
    ) -> None:
        super().__init__()
        self.grouping = grouping
        self.width = width
        self.encoder = GroupEncoder(grouping.channels, encoder_width)
        self.reduce_dim = nn.Linear(encoder_width, width) if encoder_width != width else nn.Identity()
        self.has_class_token = has_class_token
        if self.has_class_token:
            self.cls_token = nn.Parameter(torch.empty(1, 1, width))
            self.cls_pos = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = position_embedding(width)
        self.blocks = Blocks(width, heads, depth)
        self.norm = nn.LayerNorm(width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the class token and its position anew."""
        if self.has_class_token:
            nn.init.trunc_normal_(self.cls_token, std=SPREAD)
            nn.init.trunc_normal_(self.cls_pos, std=SPREAD)

    def prepare(self, media: PointCloud) -> Prepared:
        """Return `groups` (G, M, C) and `centres` (G, 3)."""
        return self.grouping.make(media)

    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return the number of groups, and one more where there is a class token."""
        return self.grouping.groups + self.has_class_token, None

    def forward_stacked(self, groups: Tensor, centres: Tensor) -> Tensor:
        """Return features (B, N, d) of groups (B, G, M, C) and centres (B, G, 3)."""
        tokens, positions = self.reduce_dim(self.encoder(groups)), self.pos_embed(centres)
        if self.has_class_token:
            count = len(groups)
            tokens = torch.cat([self.cls_token.expand(count, -1, -1), tokens], dim=1)
            positions = torch.cat([self.cls_pos.expand(count, -1, -1), positions], dim=1)
        return self.norm(self.blocks(tokens, positions))
