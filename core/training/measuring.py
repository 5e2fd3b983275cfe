"""What a step costs: positions by modality, padding, model FLOPs against what the device can do, and peak memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from polyjanus.core.model.unified import UnifiedModel
from polyjanus.core.modules import Backbone
from polyjanus.core.sequence.spans import TokenSequence
from polyjanus.core.training.log import Record
from polyjanus.core.training.ranks import Ranks

TERA = 1e12
PEAKS = {
    "B200": 2250 * TERA,
    "H200": 989 * TERA,
    "H100": 989 * TERA,
    "A100": 312 * TERA,
    "L40S": 362 * TERA,
    "4090": 165 * TERA,
    "A10": 125 * TERA,
    "L4": 121 * TERA,
    "3090": 71 * TERA,
}
"""Products per second in bfloat16, without sparsity, by a part of the device's name (NVIDIA's data sheets)."""
SIDE, TRIES = 1024, 5
"""Side of the matrices, and how often they are multiplied, where a device is not in the table."""


def peak_flops(device: torch.device, *, is_mixed: bool) -> float:
    """Return floating-point operations per second at best: by data sheet, or the fastest of a few float32 products."""
    if device.type == "cuda" and is_mixed:
        name = cast(Any, torch.cuda).get_device_name(device)
        known = next((peak for part, peak in PEAKS.items() if part in name), None)
        if known is not None:
            return known
    matrix = torch.ones(SIDE, SIDE, device=device, dtype=torch.bfloat16 if is_mixed else torch.float32)
    best = float("inf")
    for _ in range(TRIES):
        started = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - started)
    return 2 * SIDE**3 / best


class Meter:
    """Counts what the steps of one stage cost; the numbers are those of all processes together."""

    def __init__(self, model: UnifiedModel, ranks: Ranks, *, is_mixed: bool) -> None:
        self.model, self.ranks, self.is_mixed = model, ranks, is_mixed
        self._peak: float | None = None
        self._names = ["text"]
        for name in model.modalities:
            self._names += [f"{name}.{pathway}" for pathway in ("understand", "generate")]

    def record(self, sequences: Sequence[TokenSequence], places: int, seconds: float) -> Record:
        """Return what a step's log says of its cost; `places` are the positions computed, padding included."""
        mine = self._counts(sequences)
        sums = [*(mine[name] for name in self._names), places, self._flops(sequences, mine)]
        *counts, computed, flops = self.ranks.sum(sums, self.model.device)
        tokens = {name: int(count) for name, count in zip(self._names, counts, strict=True) if count}
        total = sum(tokens.values())
        return {
            "positions": total,
            "tokens": tokens,
            "padding": round(1 - total / max(computed, 1), 4),
            "mfu": round(flops / seconds / self.peak / self.ranks.world, 4),
            "memory": peak_memory(self.model.device),
        }

    @property
    def peak(self) -> float:
        """Return what this process' device can do at best."""
        if self._peak is None:
            self._peak = peak_flops(self.model.device, is_mixed=self.is_mixed)
        return self._peak

    def _counts(self, sequences: Sequence[TokenSequence]) -> dict[str, int]:
        """Return the positions of text and of each pathway."""
        counts = dict.fromkeys(self._names, 0)
        for sequence in sequences:
            for span in sequence.spans:
                counts[f"{span.modality}.{span.pathway}"] += span.length
        counts["text"] = sum(map(len, sequences)) - sum(counts.values())
        return counts

    def _flops(self, sequences: Sequence[TokenSequence], counts: Mapping[str, int]) -> float:
        """Return the model's floating-point operations of forward and backward passes (Kaplan et al., 2020, §2.1).

        A matrix costs 2 operations per value and position forwards, 2 backwards, and 2 more if it is trained; causal
        attention over N positions costs 2 · layers · width · N² forwards and twice that backwards. What is computed
        anew, padding, and the codecs do not count.
        """
        backbone = cast(Backbone, self.model.part("backbone"))
        positions = sum(map(len, sequences))
        pairs = sum(len(sequence) ** 2 for sequence in sequences)
        total = positions * self._per_position("backbone") + 6.0 * backbone.num_layers * backbone.width * pairs
        learned = sum(sum(sequence.learned) for sequence in sequences)
        total += learned * self._per_position("text.head") if self.model.has("text.head") else 0
        for name, count in counts.items():
            modality, _, pathway = name.partition(".")
            parts = ("encoder", "adaptor") if pathway == "understand" else ("adaptor", "head")
            total += sum(count * self._per_position(f"{modality}.{pathway}.{part}") for part in parts if pathway)
        return total

    def _per_position(self, path: str) -> float:
        if not self.model.has(path):
            return 0.0
        parameters = [parameter for parameter in self.model.part(path).parameters() if parameter.ndim >= 2]
        trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        whole = sum(parameter.numel() for parameter in parameters)
        is_encoder = path.endswith(".encoder")  # nothing lies before it that could learn
        return (2.0 if is_encoder and not trained else 4.0) * whole + 2.0 * trained


def peak_memory(device: torch.device) -> int:
    """Return the most bytes held so far: tensors on a GPU, this process else; 0 where the system does not tell."""
    if device.type == "cuda":
        return int(cast(Any, torch.cuda).max_memory_allocated(device))
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
