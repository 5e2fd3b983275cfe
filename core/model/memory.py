"""How much memory a stage of training takes, and which settings would make it fit; nothing is computed, only counted.

What the backward pass needs is found by a forward pass on the meta device, in which every tensor that autograd saves is
noted. An estimate: kernels need room to work in, and allocators waste some.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from polyjanus.core.config.schema import LoraConfig, StageConfig, TrainingConfig
from polyjanus.core.losses import FUSED_FROM
from polyjanus.core.model.lora import count_values, find_layers
from polyjanus.core.modules import Backbone, Encoder, Layout
from polyjanus.core.training.globs import chosen

FLOAT32, BFLOAT16 = 4, 2
"""Bytes of a value."""
MOMENTS = {"adamw": 8, "adamw8bit": 2, "adafactor": 0}
"""Bytes of AdamW's state per trained value: two moments in float32. Adafactor's are too few to count."""
PER_LOGIT = 10
"""Bytes per logit: as it comes, in float32, and its gradient."""
TEXT = 128
"""Positions of text that are expected beside an item."""
SHARDED = ("backbone", "text.embedding", "text.head")
"""Components that lie in shards over all devices with `training.shard`."""
RECOMPUTED = "checkpoint_activations=true"
MANY = 4
"""By how many times fewer passes are worth computing activations again."""
LENGTHS = (64, 128)
"""Two lengths at which a forward pass is tried, so that what grows with the square of the length can be told apart."""


Choice = tuple[StageConfig, TrainingConfig]
Change = Callable[[Choice], Choice]
Changes = dict[str, Change]


@dataclass(frozen=True)
class StageMemory:
    """Bytes that a stage holds."""

    name: str
    trained: tuple[str, ...]
    parameters: int
    """Values that are trained."""
    rows: int
    """Rows of one pass."""
    positions: int
    """Positions expected in one pass."""
    weights: int
    gradients: int
    optimizer: int
    activations: int
    """What the backward pass needs, logits included."""
    gathered: int = 0
    """What lies in shards, while it is computed: two blocks, the text's matrices, and the gradients of these."""

    @property
    def total(self) -> int:
        """Return the sum."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.gathered


class Costs:
    """What the parts of a pipeline on the meta device cost on one of some devices.

    `positions` are those of one item of each pathway.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        layouts: Mapping[str, Layout],
        counts: Mapping[str, int],
        positions: Mapping[str, int],
        examples: Mapping[str, Any],
        devices: int = 1,
    ) -> None:
        self.modules, self.layouts, self.counts, self.positions = modules, layouts, counts, positions
        self.examples, self.devices = examples, devices
        self._known: dict[tuple[Any, ...], float] = {}

    def stage(self, stage: StageConfig, training: TrainingConfig) -> StageMemory:
        """Return what a stage holds on one device; where `precision` is auto, bfloat16 is assumed."""
        trained = chosen(stage.train, list(self.counts))
        updates = self.updates(training.lora)
        values = {path: updates.get(path, self.counts[path]) for path in trained}
        held = self._held(values, training)
        whole = self._held(self.counts, training) + self._held(updates, training)
        rows = -(-stage.batch // (self.devices * stage.accumulate))
        longest = min(TEXT + max(self.positions.values(), default=0), training.max_tokens)
        return StageMemory(
            stage.name,
            tuple(trained),
            sum(values.values()),
            rows,
            rows * longest,
            weights=(whole + (held if training.ema else 0)) * FLOAT32,
            gradients=held * FLOAT32,
            optimizer=held * MOMENTS[stage.optimizer],
            activations=int(self._activations(trained, training, rows, rows * longest)),
            gathered=self._gathered(trained, training) if self._is_sharded(training) else 0,
        )

    def _is_sharded(self, training: TrainingConfig) -> bool:
        return training.shard and self.devices > 1

    def _held(self, values: Mapping[str, int], training: TrainingConfig) -> int:
        """Return how many of the values of components one device holds."""
        parts = self.devices if self._is_sharded(training) else 1
        return sum(-(-count // parts) if path in SHARDED else count for path, count in values.items())

    def _gathered(self, trained: Sequence[str], training: TrainingConfig) -> int:
        sizes = [sum(parameter.numel() for parameter in block.parameters()) for block in self._backbone.blocks()]
        rest = sum(self.counts.get(path, 0) for path in SHARDED) - sum(sizes)
        block, size = max(sizes, default=0), FLOAT32 if training.precision == "float32" else BFLOAT16
        gradients = (block if "backbone" in trained else 0) + (rest if {*trained} & {*SHARDED[1:]} else 0)
        return size * (2 * block + rest + gradients)

    def updates(self, lora: Mapping[str, LoraConfig]) -> dict[str, int]:
        """Return the number of values of each component's low-rank updates."""
        return count_values(find_layers(self.modules, lora))

    def _activations(self, trained: Sequence[str], training: TrainingConfig, rows: int, positions: int) -> float:
        is_mixed = training.precision != "float32"
        dtype = torch.bfloat16 if is_mixed else torch.float32
        kept = self._per_position(dtype, training.checkpoint_activations)
        total = positions * kept
        if training.checkpoint_activations:  # one layer at a time is computed again
            total += positions * self._per_position(dtype, False) / self._backbone.num_layers
        elif is_mixed and not self._is_sharded(training):  # the matrices as autocast rounded them
            total += self.counts["backbone"] * BFLOAT16
        total += rows * sum(self._per_item(path, dtype) for path in trained if path.endswith(".encoder"))
        return total + self._logits(positions)

    @property
    def _backbone(self) -> Backbone:
        return cast(Backbone, self.modules["backbone"])

    def _per_position(self, dtype: torch.dtype, is_checkpointed: bool) -> float:
        """Return the bytes that the backbone keeps per position, what a fused attention does not keep left out."""
        key = (dtype, is_checkpointed)
        if key not in self._known:
            module = copy.deepcopy(self._backbone).to(dtype).train().requires_grad_(False)
            module.checkpoint_activations(is_checkpointed)

            def forward(length: int) -> Tensor:
                given = torch.empty(1, length, module.width, dtype=dtype, device="meta", requires_grad=True)
                places = torch.empty(1, length, dtype=torch.long, device="meta")
                return module(given, places, torch.empty(1, length, length, dtype=torch.bool, device="meta"))

            short, long = (saved_bytes(module, lambda n=length: forward(n)) / length for length in LENGTHS)
            self._known[key] = max(2 * short - long, 0.0)  # a + b · N at 64 and 128 gives a
        return self._known[key]

    def _per_item(self, path: str, dtype: torch.dtype) -> float:
        """Return the bytes that a trained encoder keeps per item; 0 where its modality has no example."""
        if (path, dtype) not in self._known:
            self._known[path, dtype] = 0.0
            module = copy.deepcopy(cast(Encoder, self.modules[path])).train()
            with suppress(Exception):  # a plugin's forward may look at values, which the meta device has not
                example = self.examples[path]
                items = [{name: value.to("meta") for name, value in example.items()}]
                self._known[path, dtype] = saved_bytes(module, lambda: module(items).values) * dtype.itemsize / FLOAT32
        return self._known[path, dtype]

    def _logits(self, positions: int) -> float:
        sizes = [layout.cardinality * layout.width for layout in self.layouts.values()]
        sizes += [getattr(self.modules["text.head"], "out_features", 0)] if "text.head" in self.modules else []
        return PER_LOGIT * min(positions * max(sizes, default=0), FUSED_FROM)

    def advice(self, stage: StageConfig, training: TrainingConfig, limit: int) -> list[str] | None:
        """Return the fewest settings found, as overrides by last names, that make a stage fit; None if none do.

        Activations are computed again where a step is then done in far fewer passes.
        """
        changes = _changes(stage, training, self.modules, self.devices)

        def fits(names: Iterable[str]) -> bool:
            choice = (stage, training)
            for name in names:
                choice = changes[name](choice)
            return self.stage(*choice).total <= limit

        names = list(changes)
        count = next((n for n in range(1, len(names) + 1) if fits(names[:n])), None)
        if count is None:
            return None
        needed = names[:count]
        for name in names[: count - 1]:
            fewer = [each for each in needed if each != name]
            needed = fewer if fits(fewer) else needed
        found = self._with_fewest_passes(needed, fits, stage, changes)
        if RECOMPUTED not in changes or RECOMPUTED in found:
            return found
        other = self._with_fewest_passes([RECOMPUTED, *needed], fits, stage, changes)
        return other if _passes(found) >= MANY * _passes(other) else found

    def _with_fewest_passes(
        self, needed: list[str], fits: Callable[[Iterable[str]], bool], stage: StageConfig, changes: Changes
    ) -> list[str]:
        """Return settings in which a step is done in no more passes than it takes to fit."""
        most = f"accumulate={stage.batch}"
        count = 2 * stage.accumulate
        while most in needed and count < stage.batch:
            fewer = f"accumulate={count}"
            changes[fewer] = _of_stage(accumulate=count)
            swapped = [fewer if name == most else name for name in needed]
            if fits(swapped):
                return swapped
            count *= 2
        return needed


def _passes(settings: Iterable[str]) -> int:
    """Return in how many passes a step is done with these settings, where they say it."""
    return next((int(each.partition("=")[2]) for each in settings if each.startswith("accumulate=")), 1)


def _changes(stage: StageConfig, training: TrainingConfig, modules: Mapping[str, nn.Module], devices: int) -> Changes:
    """Return what may be changed, from what costs a little time to what changes the training itself."""
    found: Changes = {}
    if not training.checkpoint_activations:
        found[RECOMPUTED] = _of_training(checkpoint_activations=True)
    if stage.accumulate < stage.batch:
        found[f"accumulate={stage.batch}"] = _of_stage(accumulate=stage.batch)
    if devices > 1 and stage.optimizer == "adamw":
        found |= {} if training.shard else {"shard=true": _of_training(shard=True)}
    elif stage.optimizer != "adafactor":
        if stage.optimizer == "adamw":
            found["optimizer=adamw8bit"] = _of_stage(optimizer="adamw8bit")
        found["optimizer=adafactor"] = _of_stage(optimizer="adafactor")
    if "backbone" in chosen(stage.train, list(modules)) and "backbone" not in training.lora:
        lora = {**training.lora, "backbone": LoraConfig()}
        found["lora={backbone: {rank: 16}}"] = _of_training(lora=lora)
    return found


def _of_training(**update: Any) -> Change:
    return lambda choice: (choice[0], choice[1].model_copy(update=update))


def _of_stage(**update: Any) -> Change:
    return lambda choice: (choice[0].model_copy(update=update), choice[1])


def saved_bytes(module: nn.Module, forward: Callable[[], Any]) -> int:
    """Return the bytes that autograd keeps of a forward pass for the backward one, parameters left out."""
    own = {_storage(tensor) for tensor in (*module.parameters(), *module.buffers())}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in own:
            kept[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = forward()  # held, so that no storage is given out twice
    del output
    return sum(kept.values())


def _storage(tensor: Tensor) -> int:
    return int(cast(Any, tensor.untyped_storage())._cdata)
