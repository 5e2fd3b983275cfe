"""Encoders from any network, over a grid or over lines: what a plugin's author writes is the network alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from polyjanus.core.modules import Encoder, Grid, Prepared
from polyjanus.encoders.shared.cells import GridPreparation


class GridEncoder(Encoder):
    """A network from values (B, C, H, W), about -1 to 1, to features (B, d, h, w) or (B, d, N)."""

    def __init__(self, preparation: GridPreparation, network: nn.Module) -> None:
        super().__init__()
        self.preparation, self.network = preparation, network
        _, self.width, *sides = shape_of(network, preparation.shape)
        self.grid: Grid = tuple(sides)

    def prepare(self, media: Any) -> Prepared:
        """Return the cells (C, H, W)."""
        return {"cells": self.preparation.cells(media)}

    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return the number of features, the same for every item, and their grid where the network gives one."""
        return (self.grid[0] * self.grid[1], self.grid) if len(self.grid) == 2 else (self.grid[0], None)

    def forward_stacked(self, cells: Tensor) -> Tensor:
        """Return features (B, N, d) of cells (B, C, H, W), in raster order."""
        values = self.preparation.normalise(cells)
        parameter = next(self.network.parameters(), values)
        return self.network(values.to(parameter.device, parameter.dtype)).flatten(2).transpose(1, 2)


class LinesEncoder(Encoder):
    """A network from values (B, N) to features (B, N, d): one token for every line of an item, whatever its length."""

    def __init__(self, network: nn.Module, width: int) -> None:
        super().__init__()
        self.network, self.width = network, width

    def prepare(self, media: Any) -> Prepared:
        """Return the values (N,)."""
        return {"values": torch.from_numpy(media.values)}

    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return the number of lines."""
        return prepared["values"].shape[0], None

    def forward_stacked(self, values: Tensor) -> Tensor:
        """Return features (B, N, d) of values (B, N)."""
        return self.network(values)


def shape_of(network: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape (1, d, …) of what a network gives for one item of a shape; statistics are left alone."""
    was_training = network.training
    with torch.no_grad():
        found = tuple(network.eval()(torch.zeros(1, *shape)).shape)
    network.train(was_training)
    if len(found) not in (3, 4):
        raise ValueError(f"the network gives {found} of {(1, *shape)}; it must give (B, d, rows, columns) or (B, d, N)")
    return found
