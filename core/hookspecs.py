"""The hooks that a plugin may implement; this page is the whole list."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from polyjanus.core.data.proposals import Proposal
    from polyjanus.core.registry import Registries

PROJECT = "polyjanus"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register(registries: Registries) -> None:
    """Add settings classes to the registries; called once, must not import torch."""


@hookspec
def adopt(registries: Registries, module: ModuleType) -> bool:
    """Offer what a file that the user named defines, where the file has no hook of its own; tell whether it had any.

    What is offered is withdrawn with the file if this raises.
    """
    ...


@hookspec
def propose(folder: Path) -> list[Proposal]:
    """Return how a folder of data would be read, for `polyjanus init`; empty where it is of no known kind.

    Must not import torch.
    """
    ...


@hookspec
def run_started(folder: Path, resumed: bool) -> None:
    """Called when a training run is about to take its first step; `folder` is the run's."""


@hookspec
def step_finished(record: dict[str, Any]) -> None:
    """Called after every optimiser step with the record that also goes to `log.jsonl`."""


@hookspec
def checkpoint_saved(folder: Path, step: int) -> None:
    """Called when a checkpoint is complete on disk."""
