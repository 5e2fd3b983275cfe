"""The torch side of `features`: embeddings as they are."""

from __future__ import annotations

import torch
from torch import Tensor

from polyjanus.core.modules import Encoder, Grid, Prepared
from polyjanus.encoders.features.media import Embeddings


class StoredFeatures(Encoder):
    """Stored embeddings, moved to where the model is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("unit", torch.ones(()))

    def reset_parameters(self) -> None:
        """Set the factor to one: it is there to be moved along with the model."""
        self.unit = torch.ones_like(self.unit)

    def prepare(self, media: Embeddings) -> Prepared:
        """Return the embeddings (N, d), float32."""
        return {"values": torch.from_numpy(media.values.copy())}

    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return the number of embeddings."""
        return prepared["values"].shape[0], None

    def forward_stacked(self, values: Tensor) -> Tensor:
        """Return the embeddings (B, N, d)."""
        return values.to(self.unit.device, self.unit.dtype) * self.unit
