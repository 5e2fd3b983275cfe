"""How a folder would be read: what plugins that know such folders propose for a first pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from polyjanus.core.manager import Plugins

Block = dict[str, Any]


@dataclass(frozen=True)
class Proposal:
    """What was found in a folder, and the blocks of a pipeline that read it and that train at once."""

    found: str
    """In words, such as `12 pictures with captions beside them`."""
    rows: int
    data: dict[str, Block]
    """Data sets by name, their paths absolute."""
    modalities: dict[str, Block] = field(default_factory=dict[str, Block])
    """Small modalities by name, with the pathways that the data sets need."""


def proposals(folder: Path, plugins: Plugins) -> Iterator[Proposal]:
    """Yield what installed plugins propose for a folder, by sources that are installed and usable."""
    for found in plugins.manager.hook.propose(folder=folder):
        for proposal in cast("list[Proposal]", found):
            types = {block["type"] for block in proposal.data.values()}
            sources = plugins.registries.sources
            if all(name in sources and sources.entry(name).is_available for name in types):
                yield proposal


def merged(found: list[Proposal]) -> tuple[dict[str, Block], dict[str, Block]]:
    """Return the data sets and modalities of several proposals; equal names get numbers, pathways are joined."""
    data: dict[str, Block] = {}
    modalities: dict[str, Block] = {}
    for proposal in found:
        for name, block in proposal.data.items():
            free = name if name not in data else next(f"{name}{n}" for n in range(2, 100) if f"{name}{n}" not in data)
            data[free] = block
        for name, block in proposal.modalities.items():
            modalities[name] = {**modalities.get(name, {}), **block}
    return data, modalities
