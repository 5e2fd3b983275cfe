"""The torch side of `voxel`: which cells of a cube are occupied; nothing is learned.

Shape letters: N cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from polyjanus.core.errors import SequenceError
from polyjanus.core.modules import Codec, Prepared
from polyjanus.encoders.point_cloud.media import PointCloud
from polyjanus.encoders.point_cloud.places import Cube, cells_of, farthest_from_centre, farthest_points, morton


class VoxelCodec(Codec):
    """A cloud as the Morton numbers of its occupied cells, each once, in rising order; colours are lost."""

    num_codebooks = 1
    min_codes = 1

    def __init__(self, cube: Cube, bits: int, max_codes: int) -> None:
        super().__init__()
        self.cube = cube
        self.bits = bits
        self.cardinality = 8**bits
        self.max_codes = min(max_codes, self.cardinality)

    def prepare(self, media: PointCloud) -> Prepared:
        """Return the `codes` (N,), int64; of more than `max_codes` cells, as many that lie far apart."""
        codes = np.unique(morton(self.cube.cells(media.xyz, self.bits), self.bits))
        if len(codes) > self.max_codes:
            cells = cells_of(codes, self.bits)
            codes = np.sort(codes[farthest_points(cells, self.max_codes, farthest_from_centre(cells))])
        return {"codes": torch.from_numpy(codes)}

    def num_codes(self, prepared: Prepared) -> int:
        """Return the number of cells."""
        return prepared["codes"].shape[0]

    def encode(self, items: Sequence[Prepared]) -> list[Tensor]:
        """Return the codes (N, 1), int64, of each item, in rising order."""
        return [item["codes"].sort().values[:, None] for item in items]

    def decode(self, codes: Sequence[Tensor]) -> list[PointCloud]:
        """Return the middles of the cells of codes (N, 1), each cell once, whatever their order."""
        return [PointCloud(self._middles(item)) for item in codes]

    def _middles(self, codes: Tensor) -> np.ndarray:
        numbers = np.unique(codes.detach().cpu().numpy())
        if not numbers.size or numbers[0] < 0 or numbers[-1] >= self.cardinality:
            raise SequenceError(f"a cloud has codes from 0 to {self.cardinality - 1}, here are {numbers[:3].tolist()}")
        return self.cube.middles(cells_of(numbers, self.bits), self.bits)
