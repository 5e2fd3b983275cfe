"""The torch side of the adaptors."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from polyjanus.core.modules import Adaptor, Features, Grid


class IdentityAdaptor(Adaptor):
    """Features pass unchanged."""

    def forward(self, features: Features) -> Features:
        """Return the features."""
        return features


class LinearAdaptor(Adaptor):
    """One linear layer."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.project = nn.Linear(width_in, width_out)

    def forward(self, features: Features) -> Features:
        """Return features (ΣN, width_out)."""
        return replace(features, values=self.project(features.values))


class MlpAdaptor(Adaptor):
    """Linear layers with GELU between; `layers.0`, `layers.2` … are named as in DeepSeek's checkpoints."""

    def __init__(self, width_in: int, width_out: int, depth: int) -> None:
        super().__init__()
        widths = [width_in, *[width_out] * depth]
        linear = [nn.Linear(before, after) for before, after in pairwise(widths)]
        layers: list[nn.Module] = [linear[0]]
        for layer in linear[1:]:
            layers += [nn.GELU(), layer]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Features) -> Features:
        """Return features (ΣN, width_out)."""
        return replace(features, values=self.layers(features.values))


class Queries(nn.Module):
    """A learned table of queries (M, width)."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the queries anew."""
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, count: int) -> Tensor:
        """Return the queries (B, M, width) for B items."""
        return self.weight.expand(count, -1, -1)


class ResamplerBlock(nn.Module):
    """Queries attend to features and to themselves, then pass an MLP; both are residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_queries = nn.LayerNorm(width)
        self.norm_features = nn.LayerNorm(width)
        self.to_query = nn.Linear(width, width)
        self.to_key_value = nn.Linear(width, 2 * width)
        self.to_out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, queries: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        """Return queries (B, M, d) that have read features (B, N, d) where mask (B, 1, 1, N + M) is true."""
        normed = self.norm_queries(queries)
        query = self._split(self.to_query(normed))
        # the queries are keys too, so an item without features is well defined
        read = torch.cat([self.norm_features(features), normed], dim=1)
        key, value = (self._split(part) for part in self.to_key_value(read).chunk(2, dim=-1))
        attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        queries = queries + self.to_out(attended.transpose(1, 2).flatten(-2))
        return queries + self.mlp(queries)

    def _split(self, values: Tensor) -> Tensor:
        return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Resampler(Adaptor):
    """Any number of features in, `tokens` out; `widths` are those of the features, inside, and of the backbone."""

    def __init__(self, widths: tuple[int, int, int], *, tokens: int, depth: int, heads: int) -> None:
        super().__init__()
        width_in, width, width_out = widths
        self.tokens = tokens
        self.project_in = nn.Linear(width_in, width)
        self.queries = Queries(tokens, width)
        self.blocks = nn.ModuleList(ResamplerBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.project_out = nn.Linear(width, width_out)

    def num_tokens(self, n: int, grid: Grid | None) -> tuple[int, Grid | None]:
        """Return the number of queries; they lie on no grid."""
        return self.tokens, None

    def forward(self, features: Features) -> Features:
        """Return features (B · tokens, width_out)."""
        count = len(features.lengths)
        padded = pad_sequence(replace(features, values=self.project_in(features.values)).split(), batch_first=True)
        lengths = torch.tensor(features.lengths, device=padded.device)
        real = torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]
        mask = nn.functional.pad(real, (0, self.tokens), value=True)[:, None, None]
        queries = self.queries(count)
        for block in self.blocks:
            queries = block(queries, padded, mask)
        values = self.project_out(self.norm(queries)).flatten(0, 1)
        return Features(values, (self.tokens,) * count)
