"""The torch side of `point_fsq`: a set of points to a few finite scalars and back.

Shape letters: B items, P points, N codes, L levels of a code, d width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from polyjanus.core.errors import SequenceError
from polyjanus.core.modules import Codec, Prepared, in_groups
from polyjanus.encoders.point_cloud.media import PointCloud
from polyjanus.encoders.point_cloud.places import Cube, drawn, farthest_from_centre, farthest_points, in_order
from polyjanus.encoders.shared.fsq import FiniteScalars

OCTAVES = 4
"""Frequencies at which a coordinate is also seen as sine and cosine (arXiv 2003.08934, section 5.1)."""
LOOKED_AT = 16
"""Of a large cloud, points are chosen among so many times as many as are kept."""


class SetEncoder(nn.Module):
    """Points to one vector: a PointNet with its maximum fed back once (arXiv 1612.00593)."""

    def __init__(self, width: int, width_out: int) -> None:
        super().__init__()
        self.local = nn.Sequential(nn.Linear(3 + 6 * OCTAVES, width), nn.GELU(), nn.Linear(width, 2 * width))
        self.joined = nn.Sequential(nn.Linear(4 * width, 4 * width), nn.GELU(), nn.Linear(4 * width, 8 * width))
        self.out = nn.Sequential(nn.GELU(), nn.Linear(8 * width, width_out))

    def forward(self, points: Tensor) -> Tensor:
        """Return vectors (B, width_out) of points (B, P, 3) from -1 to 1."""
        local = self.local(torch.cat([points, _waves(points)], dim=-1))
        shared = local.amax(dim=1, keepdim=True).expand_as(local)
        return self.out(self.joined(torch.cat([shared, local], dim=-1)).amax(dim=1))


class PointFsqCodec(Codec):
    """A PointNet, finite scalars, and layers that write all points at once; colours are lost.

    Latents are normalised over the batch before they are rounded, so that training does not collapse to a few codes;
    outside training the statistics that it gathered are used, and never changed.
    """

    num_codebooks = 1

    def __init__(self, cube: Cube, levels: Sequence[int], *, points: int, codes: int, width: int) -> None:
        super().__init__()
        self.cube = cube
        self.points = points
        self.scalars = FiniteScalars(levels)
        self.cardinality = self.scalars.cardinality
        self.max_codes = self.min_codes = codes
        latents = codes * len(self.scalars.levels)
        self.encoder = SetEncoder(width, latents)
        self.norm = nn.BatchNorm1d(latents, affine=False)
        self.decoder = nn.Sequential(
            nn.Linear(latents, 8 * width),
            nn.GELU(),
            nn.Linear(8 * width, 8 * width),
            nn.GELU(),
            nn.Linear(8 * width, 3 * points),
        )

    def prepare(self, media: PointCloud) -> Prepared:
        """Return `points` (P, 3), float32, from -1 to 1: so many that lie far apart, or all of them and again."""
        values = drawn(in_order(self.cube.inside(media.xyz)), LOOKED_AT * self.points)
        chosen = farthest_points(values, self.points, farthest_from_centre(values))
        return {"points": torch.from_numpy(values[chosen]).float()}

    def num_codes(self, prepared: Prepared) -> int:
        """Return the number of codes, the same for every cloud."""
        return self.max_codes

    @torch.no_grad()
    def encode(self, items: Sequence[Prepared]) -> list[Tensor]:
        """Return the codes (N, 1) of each cloud."""
        return in_groups(items, self._encode_stacked, self)

    @torch.no_grad()
    def decode(self, codes: Sequence[Tensor]) -> list[PointCloud]:
        """Return a cloud of `points` points, in metres, for the codes (N, 1) of each item."""
        wrong = {item.shape[0] for item in codes} - {self.max_codes}
        if wrong:
            raise SequenceError(f"a cloud has {self.max_codes} codes, here are {sorted(wrong)[0]}")
        place = next(self.parameters()).device
        rebuilt = in_groups([{"codes": item.to(place)} for item in codes], self._decode_stacked, self)
        return [PointCloud(self.cube.metres(points.cpu().numpy())) for points in rebuilt]

    def reconstruct(self, items: Sequence[Prepared]) -> tuple[Tensor, int]:
        """Return the sum over clouds of the Chamfer distance, in half sides of the cube, and their number."""
        return torch.stack(in_groups(items, self._loss_stacked, self)).sum(), len(items)

    def _latents(self, points: Tensor, *, moves_statistics: bool) -> Tensor:
        """Return latents (B, N, L); a single cloud has no statistics of its own."""
        norm = self.norm
        values = nn.functional.batch_norm(
            self.encoder(points),
            norm.running_mean,
            norm.running_var,
            training=moves_statistics and norm.training and len(points) > 1,
            eps=norm.eps,
        )
        return values.unflatten(1, (self.max_codes, -1))

    def _encode_stacked(self, points: Tensor) -> Tensor:
        latents = self._latents(points, moves_statistics=False)
        return self.scalars.codes(self.scalars.quantise(latents)).unsqueeze(-1)

    def _decode_stacked(self, codes: Tensor) -> Tensor:
        vectors = self.scalars.vectors(codes[..., 0]).to(next(self.parameters()).dtype)
        return self._rebuilt(vectors).float().clamp(-1, 1)

    def _rebuilt(self, vectors: Tensor) -> Tensor:
        return self.decoder(vectors.flatten(1)).unflatten(1, (self.points, 3))

    def _loss_stacked(self, points: Tensor) -> Tensor:
        vectors = self.scalars.quantise(self._latents(points, moves_statistics=True))
        return chamfer(self._rebuilt(vectors).float(), points.float())


def chamfer(first: Tensor, second: Tensor) -> Tensor:
    """Return the Chamfer distances (B,) of sets (B, P, 3) and (B, Q, 3): to the nearest point, both ways, averaged."""
    squares = (first**2).sum(-1)[:, :, None] + (second**2).sum(-1)[:, None] - 2 * first @ second.transpose(1, 2)
    distances = squares.clamp(min=1e-8).sqrt()
    return (distances.amin(2).mean(1) + distances.amin(1).mean(1)) / 2


def _waves(points: Tensor) -> Tensor:
    scales = torch.pi * 2.0 ** torch.arange(OCTAVES, device=points.device, dtype=points.dtype)
    angles = (points[..., None] * scales).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
