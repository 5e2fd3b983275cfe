"""An exponential moving average of what a stage trains: the weights that are scored, saved and handed on."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from polyjanus.core.training.sharding import local, spread


class Average:
    """Weights averaged over the steps of a stage (Polyak and Juditsky, 1992); `decay` is reached after a while.

    After step t, from 1, the average keeps min(decay, (1 + t) / (10 + t)) of itself, so that it soon forgets where the
    stage began.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self._values = {name: value.detach().clone() for name, value in self._trained.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step` of the stage, counted from one."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        mine, new = ([local(value) for value in each.values()] for each in (self._values, self._trained))
        cast(Any, torch)._foreach_lerp_(mine, new, share)

    @contextmanager
    def applied(self) -> Generator[None]:
        """Let the model have the average in place of its weights for a while."""
        before = self.weights()
        _copy(self._values, self._trained)
        try:
            yield
        finally:
            _copy(before, self._trained)

    def hand_over(self) -> None:
        """Make the average the weights."""
        _copy(self._values, self._trained)

    def weights(self) -> dict[str, Tensor]:
        """Return copies of the weights as the optimiser has them."""
        return {name: value.detach().clone() for name, value in self._trained.items()}

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Take the model's weights, which a checkpoint has averaged, as the average, and go on from `weights`."""
        _copy(self._trained, self._values)
        _copy(weights, self._trained)


def applied(average: Average | None) -> AbstractContextManager[None]:
    """Let a model have its average, where there is one."""
    return nullcontext() if average is None else average.applied()


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, value in target.items():
        value.copy_(spread(source[name], value))
