"""Encoders around a network that says nothing of itself: its width and its counts are found by trying it.

Shape letters: B items, C channels, T samples, H rows, W columns, N tokens, d width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from polyjanus.core.errors import WiringError
from polyjanus.core.importing import ImportsKeepValues
from polyjanus.core.modules import Encoder, Grid, Prepared
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.shared import grid_of
from polyjanus.encoders.shared.cells import channelwise
from polyjanus.encoders.shared.signals import SignalModality

if TYPE_CHECKING:
    from polyjanus.encoders.shared.adopting import ValuesSettings

Values = Callable[[Any], Tensor]
"""From a medium to what a network takes of one item."""


class TriedEncoder(Encoder):
    """Features of a network `tower`; `make` builds another like it, which is tried on the meta device."""

    def __init__(self, make: Callable[[], nn.Module], values: Values, example: Any, context: BuildContext) -> None:
        super().__init__()
        self.tower = make()
        with torch.device("meta"), ImportsKeepValues():
            self._trial = (make().eval(),)  # in a tuple, so that it is no part of this module
        self.values, self.path = values, context.path
        self._known: dict[tuple[int, ...], tuple[int, Grid | None, int]] = {}
        self.width = self._tried(tuple(values(example).shape))[2]

    @abstractmethod
    def features(self, tower: Any, values: Tensor) -> tuple[Tensor, Grid | None]:
        """Return features (B, N, d) of values (B, …), and the grid of their tokens, if they have one."""

    @property
    @abstractmethod
    def takes(self) -> str:
        """Return what the network is and what its values are called, for messages."""

    def prepare(self, media: Any) -> Prepared:
        """Return what the network takes of one item, float32."""
        return {"values": self.values(media)}

    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return N, and the grid where there is one; found by a pass without values, once per shape."""
        return self._tried(tuple(prepared["values"].shape))[:2]

    def forward_stacked(self, values: Tensor) -> Tensor:
        """Return features (B, N, d) of values (B, …)."""
        dtype = next((p.dtype for p in self.tower.parameters() if p.is_floating_point()), values.dtype)
        return self.features(self.tower, values.to(dtype))[0]

    def _tried(self, shape: tuple[int, ...]) -> tuple[int, Grid | None, int]:
        """Return N, grid and d of an item of that shape."""
        if shape not in self._known:
            try:
                with torch.no_grad(), torch.device("meta"), ImportsKeepValues():
                    features, grid = self.features(self._trial[0], torch.empty(1, *shape))
            except Exception as error:
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise WiringError(
                    f"{self.takes} of shape {(1, *shape)}: {reason}",
                    paths=[self.path],
                    hint="see what it takes: 'arranged', 'size', 'input' and 'arguments' say otherwise",
                ) from error
            self._known[shape] = features.shape[1], grid, features.shape[2]
        return self._known[shape]


def values_of(settings: ValuesSettings, context: BuildContext) -> tuple[Values, Any]:
    """Return what makes the model's values of a medium, and an example of one."""
    modality: Any = context.modality
    values = (
        _signal_values(settings, modality) if isinstance(modality, SignalModality) else _grid_values(settings, context)
    )
    if not settings.standardise:
        return values, modality.example()

    def standardised(media: Any) -> Tensor:
        given = values(media)
        return (given - given.mean()) / (given.var(correction=0) + 1e-7).sqrt()

    return standardised, modality.example()


def _signal_values(settings: ValuesSettings, modality: SignalModality[Any, Any]) -> Values:
    def values(media: Any) -> Tensor:
        samples = torch.from_numpy(modality.values(media, settings.sample_rate or modality.sample_rate))
        if settings.arranged == "mono":
            return samples.mean(0)
        return samples if settings.arranged == "channels" else samples.T.contiguous()

    return values


def _grid_values(settings: ValuesSettings, context: BuildContext) -> Values:
    grid = grid_of(context).grid(size=settings.size, channels=settings.channels, resize=settings.resize)
    mean, std = settings.mean, settings.std

    def values(media: Any) -> Tensor:
        given = grid.normalise(grid.cells(media).unsqueeze(0))[0]
        if mean is None or std is None:
            return given
        return ((given + 1) / 2 - channelwise(mean, given)) / channelwise(std, given)

    return values
