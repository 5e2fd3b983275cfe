"""What is computed and kept: the components of a pipeline that no stage trains, and why others are left out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from polyjanus.core.checkpoints.atomic import flush
from polyjanus.core.config.schema import StageConfig
from polyjanus.core.errors import PluginError
from polyjanus.core.features import Item, Kept, Prepared
from polyjanus.core.keeping.addresses import Addresses
from polyjanus.core.keeping.keeper import folder_of
from polyjanus.core.keeping.shards import Say, Shelf, smallest
from polyjanus.core.model.checks import encoded_codes, encoded_features
from polyjanus.core.modules import Codec, Encoder
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.sequence.packing import to_device
from polyjanus.core.training.globs import chosen

SHARD_BYTES = 128 << 20
SHARD_ITEMS = 1 << 16
SHARD_SECONDS = 60.0
"""A shard is written when it has so much, or when what it has is so old: a process that is killed loses no more."""


@dataclass
class Target:
    """One component whose results are kept, and what of them was found, computed and written."""

    path: str
    component: Codec | Encoder
    shelf: Shelf
    device: torch.device
    is_mixed: bool = False
    """Whether a run computes in bfloat16."""
    items: int = 0
    hits: int = 0
    computed: int = 0
    unstable: int = 0
    written: int = 0
    """Shards."""
    pending: dict[bytes, Prepared] = field(default_factory=dict[bytes, Prepared])
    ready: dict[bytes, Kept] = field(default_factory=dict[bytes, Kept])
    size: int = 0
    """Bytes that are ready and not written."""
    since: float = field(default_factory=time.monotonic)

    def find(self, digest: bytes) -> Kept | None:
        """Return the result for an item."""
        return self.ready.get(digest) or self.shelf.find(digest)

    def take(self, digest: bytes, item: Item) -> None:
        """Count an item that was met, and put it with those to be computed if it has no result."""
        if isinstance(item, Kept) or digest in self.pending:
            self.hits += 1
        else:
            self.pending[digest] = item

    @torch.no_grad()
    def compute(self) -> None:
        """Compute what is pending, and write a shard if there is enough for one."""
        if self.pending:
            items = to_device(list(self.pending.values()), self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_mixed):
                results = self._results(items)
            self.ready |= zip(self.pending, results, strict=True)
            self.size += sum(kept.values.numel() * kept.values.element_size() for kept in results)
            self.computed += len(results)
            self.pending = {}
        is_old = time.monotonic() - self.since > SHARD_SECONDS
        if self.size >= SHARD_BYTES or len(self.ready) >= SHARD_ITEMS or is_old:
            self.write()

    def write(self) -> None:
        """Write what is ready as a shard."""
        if self.ready:
            self.shelf.add(self.ready, self._dtype())
            self.written += 1
        self.ready, self.size, self.since = {}, 0, time.monotonic()

    def as_json(self) -> dict[str, Any]:
        """Return what became of it as plain data."""
        names = ("path", "items", "hits", "computed", "unstable")
        found = {name: getattr(self, name) for name in names}
        damaged = self.shelf.damaged + len(self.shelf.broken)
        return {**found, "damaged": damaged, "bytes": self.shelf.num_bytes, "folder": self.shelf.folder.name}

    def _dtype(self) -> torch.dtype:
        return smallest(self.component.cardinality) if isinstance(self.component, Codec) else torch.float32

    def _results(self, items: list[Prepared]) -> list[Kept]:
        if isinstance(self.component, Codec):
            return [Kept(codes.cpu()) for codes in encoded_codes(self.component, items)]
        features = encoded_features(self.component, items)
        grids = [self.component.num_tokens(item)[1] for item in items]
        given = features.grids or [None] * len(items)
        if None not in grids and list(given) != grids:
            raise PluginError(f"{self.path}: forward gives the grids {given}, num_tokens {grids}")
        return [Kept(values.cpu().clone(), grid) for values, grid in zip(features.split(), grids, strict=True)]


@dataclass(frozen=True)
class LeftOut:
    """A component whose results cannot be kept, why, and what can be done."""

    path: str
    reason: str
    hint: str


def plan(pipeline: Pipeline, home: Path, say: Say, *, with_features: bool) -> tuple[list[Target], list[LeftOut]]:
    """Return what is to be computed, and what is left out because a stage trains it."""
    addresses = Addresses(pipeline)
    stages = pipeline.config.training.stages if pipeline.config.training else ()
    targets: list[Target] = []
    left_out: list[LeftOut] = []
    for path in _candidates(pipeline, with_features=with_features):
        stage = next((stage for stage in stages if _trains(stage, path, pipeline, addresses)), None)
        if stage is not None:
            left_out.append(LeftOut(path, f"stage {stage.name!r} trains it", _remedy(stage, path)))
            continue
        address = addresses.of(path, is_prompt=False)
        if address is None:
            raise PluginError(f"{path}: its weights are not all in this process")
        folder = home / folder_of(path, address)
        shelf = _tidied(Shelf(folder, say))
        component = cast("Codec | Encoder", pipeline.parts.modules[path])
        targets.append(Target(path, component, shelf, pipeline.model.device, addresses.is_mixed))
    return targets, left_out


def _candidates(pipeline: Pipeline, *, with_features: bool) -> Iterator[str]:
    for name, modality in pipeline.config.modalities.items():
        if modality.generate:
            yield f"{name}.generate.codec"
        if modality.understand and with_features:
            yield f"{name}.understand.encoder"


def _trains(stage: StageConfig, path: str, pipeline: Pipeline, addresses: Addresses) -> bool:
    """Tell whether a stage trains a component, or one that shares a tensor with it."""
    mine = {id(tensor) for tensor in addresses.tensors(path)}
    trained = chosen(stage.train, pipeline.config.component_paths())
    modules = [pipeline.model.part(each) for each in trained if pipeline.model.has(each)]
    return any(id(tensor) in mine for module in modules for tensor in module.parameters())


def _remedy(stage: StageConfig, path: str) -> str:
    if stage.objective == "reconstruct":
        return (
            f"train {path} in a pipeline of its own; in this one leave that stage out and start from it with"
            f" 'training.init_from: {{{path}: ./runs/...}}'"
        )
    return (
        f"leave {path} out of 'train' of that stage where it need not learn, or precompute a file beside this one that"
        " ends before that stage: this one then finds what is kept until it is trained"
    )


def _tidied(shelf: Shelf) -> Shelf:
    """Remove shards that cannot be read: what they held is computed anew."""
    for path in shelf.broken:
        path.unlink(missing_ok=True)
    for draft in shelf.folder.glob(".*.safetensors"):
        if time.time() - draft.stat().st_mtime > 3600:  # younger ones may be another process' work
            draft.unlink(missing_ok=True)
    flush(shelf.folder)
    return shelf
