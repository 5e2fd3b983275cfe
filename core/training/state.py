"""What a run needs to go on as if it had never stopped, beside the weights: no pickle, tensors and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType]

from polyjanus.core.errors import CheckpointError
from polyjanus.core.training.sharding import spread

FOLDER = "training"
WEIGHTS = "weights.safetensors"


@dataclass
class Progress:
    """Where a run is: the stage and its next step, all steps so far, and the best score."""

    stage: int = 0
    step: int = 0
    total: int = 0
    best: float | None = None
    skipped: list[int] = field(default_factory=list[int])
    """Recent steps that were left out, because their loss or gradient was NaN or infinite."""


def step_seed(seed: int, stage: int, step: int) -> int:
    """Return what seeds torch for one step, so that a run can go on anywhere without remembering random numbers."""
    return int(np.random.SeedSequence([seed, stage, step, 2]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def write_state(
    folder: Path,
    progress: Progress,
    state: Mapping[str, Any],
    settings: dict[str, Any],
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write progress, an optimiser's state dict and settings under `training/` in a checkpoint folder.

    `weights` are those that the optimiser goes on with, where the checkpoint holds their average.
    """
    home = folder / FOLDER
    home.mkdir()
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[str, float] = {}
    seen: set[int] = set()
    for index, entries in state["state"].items():
        for name, value in _leaves(entries):
            if isinstance(value, torch.Tensor):  # a table that several parameters share is written for each
                is_shared = value.data_ptr() in seen and value.numel()
                tensors[f"state.{index}.{name}"] = value.clone() if is_shared else value.contiguous()
                seen.add(value.data_ptr())
            else:
                numbers[f"state.{index}.{name}"] = value
    save_file(tensors, home / "optimizer.safetensors")
    if weights is not None:
        save_file({name: value.cpu().contiguous() for name, value in weights.items()}, home / WEIGHTS)
    content = {"progress": asdict(progress), "groups": state["param_groups"], "numbers": numbers, "settings": settings}
    text = json.dumps(content, indent=1)
    (home / "state.json").write_text(text + "\n", encoding="utf-8")


def read_progress(folder: Path) -> tuple[Progress, dict[str, Any]]:
    """Return where the run was, and the settings that it was made with."""
    path = folder / FOLDER / "state.json"
    if not path.is_file():
        raise CheckpointError("holds no training state", where=str(folder), hint="it can be used, but not resumed")
    saved = json.loads(path.read_text(encoding="utf-8"))
    return Progress(**saved["progress"]), saved["settings"]


def read_optimizer(folder: Path, optimizer: torch.optim.Optimizer) -> None:
    """Give an optimiser over the same parameters the state that it had."""
    home = folder / FOLDER
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    saved = json.loads((home / "state.json").read_text(encoding="utf-8"))
    state: dict[int, dict[str, Any]] = {}
    with cast(Any, safe_open(home / "optimizer.safetensors", framework="pt")) as tensors:
        for key in tensors.keys():  # noqa: SIM118 -- no mapping
            _put(state, key, spread(tensors.get_tensor(key), parameters[int(key.split(".")[1])]))
    for key, value in saved.get("numbers", {}).items():
        _put(state, key, value)
    optimizer.load_state_dict({"state": state, "param_groups": saved["groups"]})


def _leaves(entries: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what an optimiser keeps of one parameter, by dotted names."""
    for name, value in entries.items():
        if isinstance(value, Mapping):
            yield from _leaves(cast("Mapping[str, Any]", value), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _put(state: dict[int, dict[str, Any]], key: str, value: Any) -> None:
    """Put what stands at `state.index.name` where an optimiser looks for it."""
    _, index, *parents, name = key.split(".")
    home = state.setdefault(int(index), {})
    for parent in parents:
        home = home.setdefault(parent, {})
    home[name] = value


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights that the optimiser goes on with, where the checkpoint holds their average."""
    path = folder / FOLDER / WEIGHTS
    if not path.is_file():
        raise CheckpointError("holds the average of the weights, and not those to go on with", where=str(folder))
    return load_file(path)


def changes(before: Any, after: Any) -> Iterator[str]:
    """Yield the dotted paths at which two trees of settings differ."""
    return (path for path, _, _ in differences(before, after))


def differences(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted paths at which two trees of settings differ, and both values."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        old, new = cast("Mapping[str, Any]", before), cast("Mapping[str, Any]", after)
        for key in sorted({*old, *new}):
            yield from differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif (
        isinstance(before, list)
        and isinstance(after, list)
        and len(cast("list[Any]", before)) == len(cast("list[Any]", after))
    ):
        for index, (was, now) in enumerate(zip(cast("list[Any]", before), cast("list[Any]", after), strict=True)):
            yield from differences(was, now, f"{path}.{index}")
    elif json.dumps(before) != json.dumps(after):
        yield path, before, after
