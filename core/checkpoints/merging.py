"""Low-rank updates (LoRA, Hu et al., 2021) added to their matrices, wherever tensors are read to be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from polyjanus.core.checkpoints.components import LOW_RANK, component_of, is_low_rank
from polyjanus.core.config.schema import LoraConfig, PipelineConfig, selects

BASE = ".base_layer."
"""Stands in the name of a matrix that has a low-rank update."""
Keeps = Callable[[str], bool]


def without_lora(config: PipelineConfig) -> PipelineConfig:
    """Return the settings of a pipeline whose updates are merged."""
    training = config.training
    if training is None or not training.lora:
        return config
    return config.model_copy(update={"training": training.model_copy(update={"lora": {}})})


def merged(
    stored: Callable[[Keeps], Iterator[tuple[str, Tensor]]], config: PipelineConfig, keeps: Keeps
) -> Iterator[tuple[str, Tensor]]:
    """Yield the wanted tensors of a pipeline with every update added to its matrix, under plain names.

    `stored` yields those whose own names are wanted; `keeps` is asked for plain names.
    """
    settings = config.training.lora if config.training else {}
    if not settings:
        yield from stored(keeps)
        return
    paths = config.component_paths()
    updates = dict(stored(is_low_rank))
    for name, tensor in stored(lambda name: not is_low_rank(name) and keeps(name.replace(BASE, "."))):
        owner, base, last = name.rpartition(BASE)
        if base and last == "weight":
            config_of = [each for glob, each in settings.items() if selects(glob, component_of(name, paths))][-1]
            down, up = (updates[f"{owner}{part}default.weight"] for part in LOW_RANK)
            yield f"{owner}.weight", _add(tensor, down, up, config_of)
        else:
            yield name.replace(BASE, "."), tensor


def merged_state(state: Mapping[str, Tensor], config: PipelineConfig) -> dict[str, Tensor]:
    """Return the state dict of a model with every update added to its matrix, under plain names."""
    return dict(merged(lambda keeps: ((name, state[name]) for name in state if keeps(name)), config, lambda _: True))


def _add(matrix: Tensor, down: Tensor, up: Tensor, config: LoraConfig) -> Tensor:
    """Return W + alpha / rank · up · down in the dtype of W, for W (O, I), down (R, I) and up (O, R)."""
    update = up.float() @ down.float() * (config.alpha / config.rank)
    return (matrix.float() + update).to(matrix.dtype)
