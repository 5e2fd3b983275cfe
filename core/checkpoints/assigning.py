"""Give a model the tensors of a checkpoint in place of its own, without a second copy of either."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from polyjanus.core.checkpoints.components import LoadReport
from polyjanus.core.errors import CheckpointError


def assign_tensors(
    model: nn.Module, tensors: Iterable[tuple[str, Tensor]], *, device: torch.device, dtype: torch.dtype | None
) -> LoadReport:
    """Put tensors in the place of those of the same name; floating ones take `dtype`, None keeps what is stored.

    A tensor that a model has under several names is given to all of them. Where neither device nor dtype changes, the
    model uses the mapped file itself.
    """
    places = _places(model)
    report = LoadReport()
    done: set[int] = set()
    for name, tensor in tensors:
        if name not in places:
            report.unexpected.append(name)
            continue
        before, homes = places[name]
        if before.shape != tensor.shape:
            raise CheckpointError(
                f"{name} has shape {tuple(tensor.shape)}, this pipeline needs {tuple(before.shape)}", where="weights"
            )
        value = tensor.to(device, dtype if tensor.is_floating_point() else None)
        _give(before, value, homes)
        done.add(id(before))
        report.reused.append(name)
    report.fresh = sorted(name for name, (before, _) in places.items() if id(before) not in done)
    return report


def attach(model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    """Put every module under its component path, so that state-dict keys are component paths."""
    for path, module in modules.items():
        *parents, last = path.split(".")
        home = model
        for name in parents:
            if not hasattr(home, name):
                home.add_module(name, nn.Module())
            home = home.get_submodule(name)
        home.add_module(last, module)


def _places(model: nn.Module) -> dict[str, tuple[Tensor, list[tuple[nn.Module, str]]]]:
    """Return, by name, each stored tensor and every module and attribute that holds it."""
    stored = set(model.state_dict())
    homes: dict[int, list[tuple[nn.Module, str]]] = {}
    found: dict[str, Tensor] = {}
    modules = cast("Iterable[tuple[str, nn.Module]]", model.named_modules(remove_duplicate=False))
    for prefix, module in modules:
        own: list[tuple[str, Tensor]] = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, tensor in own:
            key = f"{prefix}.{name}" if prefix else name
            if key in stored:
                homes.setdefault(id(tensor), []).append((module, name))
                found[key] = tensor
    return {key: (tensor, homes[id(tensor)]) for key, tensor in found.items()}


def _give(before: Tensor, value: Tensor, homes: Iterable[tuple[nn.Module, str]]) -> None:
    """Set the tensor in every module that holds it."""
    new = nn.Parameter(value, requires_grad=before.requires_grad) if isinstance(before, nn.Parameter) else value
    for module, name in homes:
        setattr(module, name, new)
