"""Low-rank updates of a component's matrices (LoRA, Hu et al., 2021), trained in place of the matrices themselves."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, cast

import torch
from torch import nn

from polyjanus.core.config.schema import LoraConfig, selects
from polyjanus.core.errors import WiringError, suggest


def find_layers(
    modules: Mapping[str, nn.Module], settings: Mapping[str, LoraConfig]
) -> dict[str, tuple[LoraConfig, dict[str, nn.Linear]]]:
    """Return, by component path, the linear layers that get an update; a glob that matches none is a WiringError.

    Where two globs select one component, the last counts.
    """
    found: dict[str, tuple[LoraConfig, dict[str, nn.Linear]]] = {}
    for glob, config in settings.items():
        paths = [path for path in modules if selects(glob, path)]
        place = [f"training.lora.{glob}"]
        if not paths:
            raise WiringError(
                f"training.lora: {glob!r} selects no component{suggest(glob, list(modules))}", paths=place
            )
        layers = {path: _linear_layers(modules[path], config.modules) for path in paths}
        if not any(layers.values()):
            known = sorted({name.rpartition(".")[2] for path in paths for name in _linear_layers(modules[path], ["*"])})
            raise WiringError(
                f"training.lora: {', '.join(config.modules)} match no linear layer of {', '.join(paths)}",
                paths=place,
                hint=f"there are {', '.join(known)}" if known else "it has no linear layers",
            )
        found |= {path: (config, chosen) for path, chosen in layers.items() if chosen}
    return found


def _linear_layers(module: nn.Module, globs: Iterable[str]) -> dict[str, nn.Linear]:
    """Return the linear layers inside a module whose dotted name, or its end, matches one of the globs."""
    inner = cast("Iterable[tuple[str, nn.Module]]", module.named_modules())
    return {
        name: layer
        for name, layer in inner
        if name and isinstance(layer, nn.Linear)
        if any(fnmatchcase(name, glob) or fnmatchcase(name, f"*.{glob}") for glob in globs)
    }


def count_values(layers: Mapping[str, tuple[LoraConfig, Mapping[str, nn.Linear]]]) -> dict[str, int]:
    """Return how many values the updates of each component have."""
    return {
        path: sum(config.rank * (layer.in_features + layer.out_features) for layer in chosen.values())
        for path, (config, chosen) in layers.items()
    }


def inject(modules: Mapping[str, nn.Module], settings: Mapping[str, LoraConfig], seed: int) -> None:
    """Give linear layers their updates, which change nothing until they are trained; needs peft."""
    for path, (config, layers) in find_layers(modules, settings).items():
        peft = _peft(path)
        described = peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules="|".join(re.escape(name) for name in layers),
        )
        with cast(Any, torch.random).fork_rng(devices=[]):
            cast(Any, torch).manual_seed(seed)
            peft.inject_adapter_in_model(described, modules[path])


def _peft(path: str) -> Any:
    logging.getLogger("bitsandbytes").setLevel(
        logging.ERROR
    )  # peft imports it, and it warns of kernels that none needs
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise WiringError(
            "low-rank updates need peft, which is not installed", paths=[path], hint='pip install "polyjanus[lora]"'
        ) from error
