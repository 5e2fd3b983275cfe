"""Reading pretrained vision checkpoints: architectures, normalisation, weights; never remote code, never pickles."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from polyjanus.core.errors import CheckpointError, WiringError, suggest
from polyjanus.core.hf import config_of, library
from polyjanus.core.settings import BuildContext, Settings, is_local

S = TypeVar("S", bound=Settings)
PASSING = ("transformers_version", "dtype", "torch_dtype", "architectures", "_name_or_path", "id2label", "label2id")
"""Keys of a config that do not describe the architecture."""
WEIGHTS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)


def resolved(settings: S, architecture: dict[str, Any], **known: Any) -> S:
    """Return settings whose `pretrained` has become `architecture`."""
    update = {"pretrained": None, "architecture": architecture, **known}
    return settings.model_copy(update={**update, "initialised_from": cast(Any, settings).pretrained})


def split_source(pretrained: str) -> tuple[str, str | None, str | None]:
    """Return name, revision and component of `name@revision:component`."""
    name, colon, component = pretrained.rpartition(":")
    if not colon or "/" in component:
        name, component = pretrained, ""
    revision = ""
    if not is_local(name):
        name, _, revision = name.partition("@")
    return name, revision or None, component or None


def read_architecture(pretrained: str, context: BuildContext, part: str = "") -> dict[str, Any]:
    """Return the architecture in a checkpoint; `part` names the config inside that is taken where there is one."""
    name, revision, component = split_source(pretrained)
    if component:
        raise WiringError(
            f"{pretrained!r} names a component; this reads whole checkpoints",
            paths=[context.path],
            hint=f"write {name!r}",
        )
    try:
        config = config_of(None, context.locate(name), revision)
    except (OSError, ValueError) as error:
        raise _unreadable(pretrained, context, error) from error
    return describe(getattr(config, part, None) or config)


def describe(config: Any) -> dict[str, Any]:
    """Return a transformers config as the `architecture` of settings."""
    known = _known_keys(config)
    return {key: value for key, value in config.to_dict().items() if key in known and value is not None}


def config_from(architecture: dict[str, Any], context: BuildContext) -> Any:
    """Return the transformers config of an `architecture`; a key that it does not know is a WiringError."""
    config = config_of(architecture, None)
    known = _known_keys(config)
    unknown = sorted(set(architecture) - known)
    if unknown:
        raise WiringError(
            f"{config.model_type!r} has no {unknown[0]!r}{suggest(unknown[0], known)}",
            paths=[context.path],
        )
    return config


def side_of(config: Any, name: str, context: BuildContext) -> int:
    """Return `image_size` or `patch_size` of a config, in pixels; what is not square is a WiringError."""
    value = getattr(config, name, None)
    if isinstance(value, list | tuple) and len(set(value)) == 1:
        value = value[0]
    if not isinstance(value, int):
        raise WiringError(
            f"model_type {config.model_type!r} has no square {name!r}",
            paths=[context.path],
            hint="known are vision transformers with square patches",
        )
    return value


def _known_keys(config: Any) -> set[str]:
    return (set(type(config)().to_dict()) | set(config.attribute_map) | {"model_type"}) - set(PASSING)


def build_tower(architecture: dict[str, Any], context: BuildContext, model_type: str | None = None) -> Any:
    """Return a vision model of transformers, its weights fresh, its pooling layers left out, all its buffers kept."""
    if "model_type" not in architecture and model_type is None:
        raise WiringError("'architecture' lacks a 'model_type'", paths=[context.path])
    config = config_from({"model_type": model_type, **architecture}, context)
    side_of(config, "patch_size", context)  # before anything as large as a language model is built
    if hasattr(config, "vision_use_head"):
        config.vision_use_head = False
    try:
        tower = library().AutoModel.from_config(config)
    except ValueError as error:
        raise WiringError(
            f"transformers has no vision model for model_type {config.model_type!r}",
            paths=[context.path],
        ) from error
    if isinstance(getattr(tower, "pooler", None), nn.Module):
        tower.pooler = None
    return keep_buffers(tower)


def keep_buffers(tower: Any) -> Any:
    """Return a model all of whose tensors are saved; any other would come back from a checkpoint as garbage."""
    for module in tower.modules():
        module._non_persistent_buffers_set.clear()
        for name in [name for name, value in vars(module).items() if isinstance(value, Tensor)]:
            value = vars(module).pop(name)
            module.register_buffer(name, value)
    return tower


def reset_tower(tower: Any) -> None:
    """Draw the weights of a model of transformers anew, and compute its buffers."""
    tower.apply(tower._init_weights)


def load_tower(tower: Any, pretrained: str, context: BuildContext) -> None:
    """Fill a tower with the weights of a checkpoint, by transformers' own loader."""
    name, revision, _ = split_source(pretrained)
    try:
        loaded = type(tower).from_pretrained(
            context.locate(name), revision=revision, trust_remote_code=False, dtype=torch.float32
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreadable(pretrained, context, error) from error
    fill(tower, _tensors(loaded, tower), pretrained)


def _tensors(loaded: nn.Module, like: nn.Module) -> dict[str, Tensor]:
    """Return all tensors of a loaded model; what its loader left on meta, derived numbers, is taken from `like`."""
    keep_buffers(loaded)
    own: dict[str, Tensor] = dict(like.named_buffers())
    found: dict[str, Tensor] = {**dict(loaded.named_parameters()), **dict(loaded.named_buffers())}
    return {name: own[name] if value.is_meta and name in own else value for name, value in found.items()}


def fill(module: nn.Module, tensors: dict[str, Tensor], pretrained: str) -> None:
    """Copy tensors into a module by name; a missing or misshapen one is a CheckpointError."""
    state = module.state_dict()
    missing = sorted(set(state) - set(tensors))
    if missing:
        raise CheckpointError(
            f"{len(missing)} of {len(state)} tensors are missing, {missing[0]!r} for one", where=repr(pretrained)
        )
    for key, value in state.items():
        if tensors[key].shape != value.shape:
            shapes = f"{tuple(tensors[key].shape)}, not {tuple(value.shape)}"
            raise CheckpointError(f"tensor {key!r} has shape {shapes}", where=repr(pretrained))
    has_meta = any(value.is_meta for value in state.values())
    module.load_state_dict({key: tensors[key].detach() for key in state}, assign=has_meta)


def load_part(module: nn.Module, pretrained: str, owner: str, part: str, context: BuildContext) -> None:
    """Fill a module with one part of a checkpoint that transformers loads as the class `owner`."""
    name, revision, _ = split_source(pretrained)
    try:
        loaded = getattr(library(), owner).from_pretrained(
            context.locate(name), revision=revision, trust_remote_code=False, dtype=torch.float32
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreadable(pretrained, context, error) from error
    fill(module, _tensors(loaded.get_submodule(part), module), pretrained)


def fill_exactly(module: nn.Module, tensors: dict[str, Tensor], pretrained: str) -> None:
    """Copy tensors into a module by name; one that has no place in it is a CheckpointError too."""
    unknown = sorted(set(tensors) - set(module.state_dict()))
    if unknown:
        raise CheckpointError(f"{len(unknown)} tensors fit nowhere, {unknown[0]!r} for one", where=repr(pretrained))
    fill(module, tensors, pretrained)


def read_preprocessor(pretrained: str, context: BuildContext) -> dict[str, Any]:
    """Return the settings of a checkpoint's feature extractor, or none where it has none."""
    file = find_file(pretrained, "preprocessor_config.json", context)
    return json.loads(file.read_text(encoding="utf-8")) if file else {}


def read_normalisation(pretrained: str, context: BuildContext) -> dict[str, Any]:
    """Return `mean` and `std` of the checkpoint's image processor, where it has one."""
    known = read_preprocessor(pretrained, context)
    keys = {"mean": "image_mean", "std": "image_std"}
    return {ours: tuple(known[theirs]) for ours, theirs in keys.items() if theirs in known}


def read_json(pretrained: str, file_name: str, context: BuildContext) -> dict[str, Any]:
    """Return a JSON file of a checkpoint; it must be there."""
    file = find_file(pretrained, file_name, context)
    if file is None:
        raise _unreadable(pretrained, context, FileNotFoundError(f"there is no {file_name}"))
    return json.loads(file.read_text(encoding="utf-8"))


def read_tensors(pretrained: str, context: BuildContext) -> dict[str, Tensor]:
    """Return all tensors of a checkpoint, memory-mapped where they are safetensors."""
    for single, index in WEIGHTS:
        names = [single]
        if find_file(pretrained, index, context):
            names = sorted(set(read_json(pretrained, index, context)["weight_map"].values()))
        files = [find_file(pretrained, name, context) for name in names]
        if all(files):
            return {key: value for file in files if file for key, value in _read_file(file).items()}
    raise _unreadable(pretrained, context, FileNotFoundError("there are no weights"))


def read_tensor_file(path: Path, keys: Sequence[str] = ("state_dict", "model")) -> dict[str, Tensor]:
    """Return the tensors by name in one .pt, .pth or .safetensors file.

    They stand at the top of the file, or under the first of `keys` that it has. A file that is missing, that holds
    anything but tensors and plain values, or no tensors by name, is a CheckpointError.
    """
    where = str(path)
    try:
        content: Any = _read_whole(path)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            "it holds more than tensors, and is not trusted to run code",
            where=where,
            hint="where you trust it, write its state dict alone with torch.save, or as .safetensors",
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, IndexError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise CheckpointError(f"the weights cannot be read: {reason}", where=where) from error
    entries = cast("dict[Any, Any]", content) if isinstance(content, dict) else {}
    inner = next((entries[key] for key in keys if isinstance(entries.get(key), dict)), entries)
    tensors = {name: value for name, value in inner.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        found = ", ".join(map(repr, list(entries)[:5])) or f"a {type(content).__name__}"
        raise CheckpointError(
            f"there are no tensors by name at its top or under {', '.join(keys)}; it holds {found}", where=where
        )
    return tensors


def find_file(pretrained: str, file_name: str, context: BuildContext) -> Path | None:
    """Return a file of a local or hub checkpoint, or None where it has none of that name."""
    name, revision, _ = split_source(pretrained)
    if is_local(name):
        file = Path(context.locate(name)) / file_name
        return file if file.is_file() else None
    try:
        found = library().utils.hub.cached_file(
            name, file_name, revision=revision, _raise_exceptions_for_missing_entries=False
        )
    except (OSError, ValueError) as error:
        raise _unreadable(pretrained, context, error) from error
    return Path(found) if found else None


def _read_file(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        return load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True, mmap=True)


def _read_whole(file: Path) -> Any:
    """Return what is in a file; a .pt of before torch 1.6 cannot be mapped, so none is."""
    if file.suffix == ".safetensors":
        return load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True)


def _unreadable(pretrained: str, context: BuildContext, error: Exception) -> WiringError:
    reason = str(error).strip().split("\n")[0]
    return WiringError(
        f"{pretrained!r} could not be read: {reason}",
        paths=[context.path],
        hint="a local folder starts with './', '../', '/' or '~'; a hub id must be reachable or in the cache",
    )
