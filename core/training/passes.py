"""The forward and backward passes of one optimiser step: one or several, with equal gradients.

The loss is Σ weight · sum / Σ count over the whole step, so the counts are taken before the first backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from polyjanus.core.config.schema import StageConfig
from polyjanus.core.errors import DataError
from polyjanus.core.model.unified import Sums, UnifiedModel
from polyjanus.core.modules import Codec
from polyjanus.core.sequence.packing import IGNORED, Batch, collate, to_device
from polyjanus.core.sequence.spans import TokenSequence
from polyjanus.core.training.sharding import Sharding, blank, is_shard


@dataclass(frozen=True)
class Outcome:
    """What the passes of a step found out, over all processes."""

    loss: Tensor
    sums: Sums
    """Per head, the summed loss and the number of targets."""
    has_learned: bool
    """Whether anything that is trained had a part in the loss."""
    places: int
    """Positions that this process computed, padding included."""


class Passes:
    """Computes losses and gradients of the steps of one stage."""

    def __init__(
        self,
        model: UnifiedModel,
        stage: StageConfig,
        paths: Sequence[str],
        sharding: Sharding,
        *,
        pad: int,
        max_tokens: int,
        is_mixed: bool,
    ) -> None:
        self.sharding, self.ranks = sharding, sharding.ranks
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.codecs = [model.part(path) for path in paths if stage.objective == "reconstruct"]
        self.model, self.stage, self.paths = model, stage, paths
        self.pad, self.max_tokens, self.is_mixed = pad, max_tokens, is_mixed

    def run(self, sequences: Sequence[TokenSequence]) -> Outcome:
        """Fill in the gradients of a step from the sequences of this process, and those of all others."""
        share = -(-len(sequences) // self.stage.accumulate)
        chunks = [sequences[start : start + share] for start in range(0, len(sequences), share)]
        batches = [collate(chunk, pad=self.pad, max_tokens=self.max_tokens) for chunk in chunks]
        places = sum(batch["ids"].numel() for batch in batches)
        batches += [blank(self.pad)] * self.sharding.missing(len(batches), self.model.device)
        counts = self._counts(batches)
        loss, sums = torch.zeros((), device=self.model.device), cast(Sums, {})
        for batch in batches:
            found = self._sums(to_device(batch, self.model.device))
            part = self._loss(found, counts)
            if part.requires_grad:  # else no row of this pass uses what the stage trains
                part.backward()  # type: ignore[no-untyped-call]
            loss = loss + part.detach()
            for name, (total, count) in found.items():
                before = sums.get(name)
                total = total.detach()
                sums[name] = (total, count) if before is None else (before[0] + total, before[1] + count)
        has_learned = any(parameter.grad is not None for parameter in self.trained)
        self.ranks.sum_gradients([parameter for parameter in self.trained if not is_shard(parameter)])
        for codec in self.codecs:
            self.ranks.mean_statistics(codec)
        return self._of_all(Outcome(loss, sums, has_learned, places), counts)

    def _of_all(self, mine: Outcome, counts: Mapping[str, int]) -> Outcome:
        """Return loss, sums and learning over all processes."""
        if self.ranks.world == 1:
            return mine
        sums = mine.sums
        told = [float(sums[name][0]) if name in sums else 0.0 for name in counts]
        whole, learned, *totals = self.ranks.sum([float(mine.loss), mine.has_learned, *told], self.model.device)
        found = {
            name: (torch.tensor(total), torch.tensor(count))
            for (name, count), total in zip(counts.items(), totals, strict=True)
            if count
        }
        return Outcome(torch.tensor(whole), found, learned > 0, mine.places)

    def _counts(self, batches: Sequence[Batch]) -> dict[str, int]:
        """Return the number of targets of each head, or of items of each codec, in all passes."""
        counts: dict[str, int] = {}
        for batch in batches:
            for name, count in (self._targets(batch) if self.stage.objective == "next" else self._items(batch)).items():
                counts[name] = counts.get(name, 0) + count
        if self.ranks.world > 1:
            names = self._names()
            whole = self.ranks.sum([counts.get(name, 0) for name in names], self.model.device)
            counts = {name: int(count) for name, count in zip(names, whole, strict=True)}
        if not any(counts.values()) and self.stage.objective == "reconstruct":
            raise DataError(f"no row of stage {self.stage.name!r} holds an item for {', '.join(self.paths)}")
        return counts

    def _names(self) -> list[str]:
        """Return the heads, or the codecs, that any process may have targets or items of."""
        if self.stage.objective == "next":
            return ["text", *(f"{name}.generate" for name in sorted(self.model.layouts))]
        return list(self.paths)

    def _targets(self, batch: Batch) -> dict[str, int]:
        counts = {"text": int((batch["targets"] != IGNORED).sum())}
        for name, block in cast("Mapping[str, Any]", batch["media"]).items():
            modality, pathway = name.rsplit(".", 1)
            if pathway == "generate":
                counts[name] = int(block["lengths"][block["learned"]].sum()) * self.model.layouts[modality].width
        return counts

    def _items(self, batch: Batch) -> dict[str, int]:
        blocks = cast("Mapping[str, Any]", batch["media"])
        found = {path: blocks.get(path.removesuffix(".codec")) for path in self.paths}
        return {path: len(block["items"]) for path, block in found.items() if block is not None}

    def _sums(self, batch: Batch) -> Sums:
        if self.stage.objective == "next":
            with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.is_mixed):
                return cast(Sums, self.model(**batch).sums)
        sums: Sums = {}
        for path in self._items(batch):
            block = cast("Mapping[str, Any]", batch["media"])[path.removesuffix(".codec")]
            total, count = cast(Codec, self.model.part(path)).reconstruct(block["items"])
            sums[path] = (total, torch.tensor(count))
        return sums

    def _loss(self, sums: Sums, counts: Mapping[str, int]) -> Tensor:
        """Return what one pass adds to the loss of the step."""
        if self.stage.objective == "next":
            return self.model.total(sums, max(sum(counts.values()), 1))
        parts = [total / counts[path] for path, (total, _) in sums.items()]
        return torch.stack(parts).sum() if parts else torch.zeros((), device=self.model.device)
