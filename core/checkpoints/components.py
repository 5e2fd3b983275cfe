"""The weights of a model, one safetensors file per component, under an index that transformers reads too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn

from polyjanus.core.errors import CheckpointError

INDEX = "model.safetensors.index.json"
LOW_RANK = (".lora_A.", ".lora_B.")
"""Stand in the names of the two factors of a low-rank update."""


@dataclass
class LoadReport:
    """What loading did: tensors reused, left at their fresh values, and found but not wanted."""

    reused: list[str] = field(default_factory=list[str])
    fresh: list[str] = field(default_factory=list[str])
    unexpected: list[str] = field(default_factory=list[str])

    def __str__(self) -> str:
        """Return one line."""
        return f"{len(self.reused)} reused, {len(self.fresh)} re-initialised, {len(self.unexpected)} unexpected"


def component_of(key: str, paths: Iterable[str]) -> str:
    """Return the component path that a state-dict key belongs to."""
    return max((path for path in paths if key.startswith(f"{path}.")), key=len)


def is_low_rank(name: str) -> bool:
    """Tell whether a tensor is a factor of a low-rank update."""
    return any(part in name for part in LOW_RANK)


def unique_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict in which a tensor that stands under several names has its first only."""
    seen: set[tuple[Any, ...]] = set()
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        identity = (tensor.data_ptr(), tensor.shape, tensor.stride()) if tensor.numel() else (name,)
        if identity not in seen:
            seen.add(identity)
            state[name] = tensor
    return state


def save_components(
    model: nn.Module, paths: Iterable[str], folder: Path, dtype: torch.dtype | None = None
) -> dict[str, str]:
    """Write `components/<path>.safetensors` and the index; return the file of each component.

    Low-rank updates go to `components/<path>.lora.safetensors`. `dtype` is how floating tensors are stored; None keeps
    theirs.
    """
    known = list(paths)
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in unique_state(model).items():
        stored = tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
        home = component_of(name, known) + (".lora" if is_low_rank(name) else "")
        groups.setdefault(home, {})[name] = stored.detach().cpu().contiguous()
    (folder / "components").mkdir(exist_ok=True)
    files: dict[str, str] = {}
    weight_map: dict[str, str] = {}
    for path, tensors in groups.items():
        files[path] = f"components/{path}.safetensors"
        save_file(tensors, folder / files[path], metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, files[path])
    total = sum(tensor.numel() * tensor.element_size() for group in groups.values() for tensor in group.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return files


def load_components(model: nn.Module, folder: Path, prefixes: Mapping[str, str] | None = None) -> LoadReport:
    """Copy the tensors of a checkpoint into a model of the same names, converted to the model's dtype.

    `prefixes` maps component paths of the model to those of the checkpoint; None takes all under their own names. A
    tensor of another shape is a CheckpointError that names it, as is a file that is damaged.
    """
    wanted = unique_state(model)
    report = LoadReport()
    renamed = {_rename(name, prefixes): name for name in wanted if prefixes is None or _covers(name, prefixes)}
    for file, names in _files(folder).items():
        try:
            with cast(Any, safe_open(folder / file, framework="pt")) as tensors:
                for name in names:
                    if name in renamed:
                        _copy(wanted[renamed[name]], tensors.get_tensor(name), renamed[name], folder / file)
                        report.reused.append(renamed[name])
                    elif prefixes is None:
                        report.unexpected.append(name)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{file} cannot be read: {error}", where=str(folder)) from error
    report.fresh = sorted(set(renamed.values()) - set(report.reused))
    return report


def read_components(
    folder: Path, keeps: Callable[[str], bool], check: Callable[[str], None] | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and the tensor of everything in a checkpoint that is wanted, mapped from its files.

    `check` is called with the name of each file before it is read.
    """
    for file, names in _files(folder).items():
        wanted = [name for name in names if keeps(name)]
        if not wanted:
            continue
        if check is not None:
            check(file)
        try:
            with cast(Any, safe_open(folder / file, framework="pt")) as tensors:
                for name in wanted:
                    yield name, tensors.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{file} cannot be read: {error}", where=str(folder)) from error


def _covers(name: str, prefixes: Mapping[str, str]) -> bool:
    return any(name.startswith(f"{path}.") for path in prefixes)


def _rename(name: str, prefixes: Mapping[str, str] | None) -> str:
    for mine, theirs in (prefixes or {}).items():
        if name.startswith(f"{mine}."):
            return theirs + name[len(mine) :]
    return name


def _files(folder: Path) -> dict[str, list[str]]:
    """Return the tensor names in each file, as the index tells."""
    path = folder / INDEX
    if not path.is_file():
        raise CheckpointError(f"there is no {INDEX}", where=str(folder))
    files: dict[str, list[str]] = {}
    for name, file in json.loads(path.read_text(encoding="utf-8"))["weight_map"].items():
        files.setdefault(file, []).append(name)
    return files


def _copy(target: Tensor, source: Tensor, name: str, file: Path) -> None:
    if target.shape != source.shape:
        raise CheckpointError(
            f"{name} has shape {tuple(source.shape)}, this pipeline needs {tuple(target.shape)}", where=str(file)
        )
    with torch.no_grad():
        target.copy_(source)
