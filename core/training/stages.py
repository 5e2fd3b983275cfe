"""What a stage trains: components chosen by globs, all others frozen."""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from polyjanus.core.checkpoints.components import is_low_rank
from polyjanus.core.config.schema import StageConfig, selects
from polyjanus.core.errors import TrainingError
from polyjanus.core.model.unified import UnifiedModel


def freeze_all_but(model: UnifiedModel, paths: Sequence[str], known: Sequence[str]) -> list[str]:
    """Make the parameters of `paths` trainable and all others frozen; return the names of the trainable ones.

    A tensor that two components share must be wholly in or wholly out. Of a component with low-rank updates these alone
    are trained.
    """
    updated = {path for path in known if model.has(path) and _has_low_rank(model.part(path))}
    owners: dict[int, list[str]] = {}
    for path in known:
        if model.has(path):
            for parameter in model.part(path).parameters():
                owners.setdefault(id(parameter), []).append(path)
    for shared in owners.values():
        inside = [path for path in shared if path in paths]
        if inside and len(inside) < len(shared):
            outside = [path for path in shared if path not in paths]
            raise TrainingError(
                f"{inside[0]} and {outside[0]} share a tensor, but only the first is trained",
                hint="train both or neither: `text` selects embedding and head",
            )
    trained: list[str] = []
    for name, parameter in model.named_parameters():
        mine = [path for path in owners.get(id(parameter), []) if path in paths]
        parameter.requires_grad_(any(path not in updated or is_low_rank(name) for path in mine))
        if parameter.requires_grad:
            trained.append(name)
    if not trained:
        raise TrainingError(f"nothing to train: {', '.join(paths)} have no parameters")
    return trained


def _has_low_rank(module: nn.Module) -> bool:
    return any(is_low_rank(name) for name, _ in module.named_parameters())


def set_modes(model: UnifiedModel, paths: Sequence[str], *, moves_statistics: bool) -> None:
    """Put trained components in training mode and all others in evaluation mode.

    Batch statistics move only where a stage asks for it: when it trains a codec by reconstruction.
    """
    model.eval()
    for path in paths:
        if model.has(path):
            model.part(path).train()
    if not moves_statistics:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage]
                module.eval()


def make_optimizer(model: UnifiedModel, stage: StageConfig, paths: Sequence[str]) -> torch.optim.Optimizer:
    """Return the optimiser over what is trainable; norms and biases are not decayed.

    Every group has a `scale`, by which its learning rate differs from the stage's. A glob of `rates` that matches
    none of the trained `paths` is a TrainingError.
    """
    scales = _scales(stage, paths)
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    seen: set[int] = set()
    for path in paths:
        for parameter in model.part(path).parameters() if model.has(path) else ():
            if id(parameter) in seen or not parameter.requires_grad:
                continue
            seen.add(id(parameter))
            decays = parameter.ndim >= 2
            decay = stage.weight_decay if decays else 0.0
            start: dict[str, Any] = {"params": [], "weight_decay": decay, "scale": scales[path]}
            groups.setdefault((scales[path], decays), start)["params"].append(parameter)
    ordered = [groups[key] for key in sorted(groups)]
    if stage.optimizer == "adafactor":
        return torch.optim.Adafactor(cast(Any, ordered), lr=stage.lr)
    if stage.optimizer == "adamw8bit":
        return _bitsandbytes().optim.AdamW8bit(ordered, lr=stage.lr, betas=stage.betas)
    return torch.optim.AdamW(cast(Any, ordered), lr=stage.lr, betas=stage.betas, fused=True)


def _bitsandbytes() -> Any:
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of kernels that no optimiser needs
    try:
        return importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise TrainingError(
            "'optimizer: adamw8bit' needs bitsandbytes, which is not installed",
            hint='pip install "polyjanus[adam8bit]"',
        ) from error


def _scales(stage: StageConfig, paths: Sequence[str]) -> dict[str, float]:
    """Return by what each trained component's learning rate differs from the stage's."""
    scales = dict.fromkeys(paths, 1.0)
    for glob, rate in stage.rates.items():
        matched = [path for path in paths if selects(glob, path)]
        if not matched:
            raise TrainingError(
                f"'rates' of stage {stage.name!r}: {glob!r} matches nothing that it trains",
                hint=f"trained are {', '.join(paths)}",
            )
        scales.update(dict.fromkeys(matched, rate / stage.lr))
    return scales


def learning_rate(stage: StageConfig, step: int) -> float:
    """Return the learning rate of step `step`, counted from zero."""
    if step < stage.warmup:
        return stage.lr * (step + 1) / stage.warmup
    if stage.schedule == "constant":
        return stage.lr
    done = (step - stage.warmup) / max(stage.steps - stage.warmup, 1)
    return stage.lr * (1 - done if stage.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done)))
