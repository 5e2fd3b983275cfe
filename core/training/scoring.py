"""Held-out rows: the loss of each data set, and which model is the best so far."""

from __future__ import annotations

from itertools import islice

import torch

from polyjanus.core.config.schema import ValidationConfig
from polyjanus.core.data.rows import Split
from polyjanus.core.model.unified import Sums, UnifiedModel
from polyjanus.core.sequence.packing import collate, to_device
from polyjanus.core.training.feeding import Feed
from polyjanus.core.training.sharding import Sharding, blank

HELD_OUT_BATCH = 32


@torch.no_grad()
def held_out_losses(
    model: UnifiedModel, feed: Feed, config: ValidationConfig, sharding: Sharding, step: int
) -> dict[str, float]:
    """Return the mean loss of the held-out rows of every data set that has usable ones."""
    model.eval()
    with sharding.arithmetic(model.device):
        found = {name: _loss(model, feed, side, config.rows, sharding, step) for name, (_, side) in feed.splits.items()}
    return {name: loss for name, loss in found.items() if loss is not None}


def _loss(model: UnifiedModel, feed: Feed, held_out: Split, limit: int, sharding: Sharding, step: int) -> float | None:
    """Return the mean loss of held-out rows, or None where none of them can be used."""
    total = count = 0.0
    rows = feed.held_out(held_out, limit, step)
    while chunk := list(islice(rows, HELD_OUT_BATCH)):
        mine = sharding.ranks.share(chunk)
        if not mine and not sharding.is_on:
            continue
        batch = collate(mine, pad=feed.pad) if mine else blank(feed.pad)
        sums: Sums = model(**to_device(batch, model.device)).sums
        total += sum(float(value) for value, _ in sums.values())
        count += sum(int(targets) for _, targets in sums.values())
    total, count = sharding.ranks.sum([total, count], model.device)
    return total / count if count else None


def score(losses: dict[str, float], best: str | None) -> float | None:
    """Return the score that says which model is best: the lower, the better."""
    chosen = (best or "").removesuffix(".loss")
    if chosen:
        return losses.get(chosen)
    return sum(losses.values()) / len(losses) if losses else None
