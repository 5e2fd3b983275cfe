"""The torch side of a plain torch module that is an encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from polyjanus.core.modules import Grid
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.shared.adopting import AdoptedConfig
from polyjanus.encoders.shared.tried import TriedEncoder, values_of


class AdoptedEncoder(TriedEncoder):
    """Features of a network that gives (B, d), (B, N, d) or (B, d, H, W)."""

    def __init__(self, settings: AdoptedConfig, context: BuildContext) -> None:
        arguments = {name: getattr(settings, name) for name in settings.arguments}
        self.kind = settings.network.__name__

        def make() -> nn.Module:
            return settings.network(**arguments)

        super().__init__(make, *values_of(settings, context), context)

    @property
    def takes(self) -> str:
        """Return the name of the class."""
        return f"{self.kind} cannot be given values"

    def features(self, tower: Any, values: Tensor) -> tuple[Tensor, Grid | None]:
        """Return features (B, N, d); one vector is one token, and cells are tokens in raster order."""
        given = tower(values)
        if given.ndim == 2:
            return given.unsqueeze(1), None
        if given.ndim == 4:
            return given.flatten(2).transpose(1, 2), (given.shape[2], given.shape[3])
        return given, None
