"""Kinds of output as one step sees them: frames of codes to embeddings, hidden states to the next frames.

Text is the kind whose frames are single ids. What works on tensors waits for none of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import cast

import torch
from torch import Tensor

from polyjanus.core.generation.grammar import Row
from polyjanus.core.generation.noise import uniform
from polyjanus.core.model.unified import UnifiedModel
from polyjanus.core.modules import Head, Sampler

Noise = Callable[[int], Tensor]
"""From a column of the frame to uniform noise (R, V)."""


class Kind(ABC):
    """One kind with its sampler; a frame of it has `width` columns of `cardinality` codes."""

    width: int
    cardinality: int
    is_guided: bool

    def __init__(self, name: str, model: UnifiedModel, sampler: Sampler) -> None:
        self.name, self.model, self.sampler = name, model, sampler
        self.key: Hashable = (name, _settings(sampler))
        """What tells its steps from others of the same model."""

    @abstractmethod
    def allowed(self, rows: Sequence[Row]) -> Tensor | None:
        """Return which codes may come next, boolean (R, K', V) or (K', V), or None for all."""

    @abstractmethod
    def embed(self, frames: Tensor) -> Tensor:
        """Return embeddings (R, d) of frames (R, K')."""

    @abstractmethod
    def sample(self, hidden: Tensor, negative: Tensor | None, noise: Noise | None, allowed: Tensor | None) -> Tensor:
        """Return the next frames (R, K') of hidden states (R, d) and those of their twins."""

    def draw(self, hidden: Tensor, negative: Tensor | None, numbers: Tensor, allowed: Tensor | None) -> Tensor:
        """Return the next frames (R, K'); `numbers` (R, 2) are seeds and draws so far."""
        seeds, draws = numbers.unbind(1)

        def noise(column: int) -> Tensor:
            return uniform(seeds, draws, column, self.cardinality)

        return self.sample(hidden, negative, None if self.sampler.is_greedy else noise, allowed)


class TextKind(Kind):
    """Text: ids of the vocabulary and marks, of which some (V,) may be written."""

    width = 1
    is_guided = False

    def __init__(self, name: str, model: UnifiedModel, sampler: Sampler, mask: Tensor) -> None:
        super().__init__(name, model, sampler)
        self.cardinality = mask.shape[0]
        self._mask = mask.unsqueeze(0)

    def allowed(self, rows: Sequence[Row]) -> Tensor | None:
        """Return which ids may come (1, V)."""
        return self._mask

    def embed(self, frames: Tensor) -> Tensor:
        """Return embeddings (R, d) of ids (R, 1)."""
        return self.model.embed_text(frames[:, 0])

    def sample(self, hidden: Tensor, negative: Tensor | None, noise: Noise | None, allowed: Tensor | None) -> Tensor:
        """Return the next ids (R, 1)."""
        logits = self.model.text_logits(hidden).float()
        if allowed is not None:
            logits = logits.masked_fill(~allowed, float("-inf"))
        return self.sampler(logits, None if noise is None else noise(0)).unsqueeze(1)


class MediaKind(Kind):
    """A generated modality: the frames of its layout, by its head."""

    def __init__(self, name: str, model: UnifiedModel, sampler: Sampler) -> None:
        super().__init__(name, model, sampler)
        self.layout = model.layouts[name]
        self.width, self.cardinality = self.layout.width, self.layout.cardinality
        self.is_guided = sampler.guidance != 1

    def allowed(self, rows: Sequence[Row]) -> Tensor | None:
        """Return which codes may come (R, K', V), as the layout says."""
        masks = [self.layout.allowed(len(row.frames), row.frames[-1] if row.frames else None) for row in rows]
        known = [mask for mask in masks if mask is not None]
        if not known:
            return None
        every = torch.ones_like(known[0])
        return torch.stack([every if mask is None else mask for mask in masks]).to(self.model.device)

    def embed(self, frames: Tensor) -> Tensor:
        """Return embeddings (R, d) of frames (R, K')."""
        return self.model.embed_frames(self.name, frames)

    def sample(self, hidden: Tensor, negative: Tensor | None, noise: Noise | None, allowed: Tensor | None) -> Tensor:
        """Return the next frames (R, K'), guided where the twins' states are given."""
        head = cast(Head, self.model.part(f"{self.name}.generate.head"))
        twins = negative if self.is_guided else None
        return head.sample(hidden, negative=twins, sampler=self.sampler, noise=noise, allowed=allowed)


def _settings(sampler: Sampler) -> Hashable:
    """Return what a sampler is set to, or which one it is where its settings are not plain values."""
    values = tuple(sorted(vars(sampler).items()))
    is_plain = all(isinstance(value, (bool, int, float, str)) for _, value in values)
    return type(sampler), values if is_plain else id(sampler)
