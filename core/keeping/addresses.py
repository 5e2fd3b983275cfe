"""Where what a component gives is kept: a digest of its weights, its settings, and the code of both plugins."""

from __future__ import annotations

import hashlib
import json
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from polyjanus.core.assembling import compute_dtype
from polyjanus.core.settings import ComponentConfig

if TYPE_CHECKING:
    from polyjanus.core.pipeline import Pipeline

FORMAT = 1
ORIGINS = ("pretrained", "initialised_from")
"""Settings that say where weights came from; the weights themselves are in the address."""

FOREIGN = ("torch", "builtins", "abc", "typing", "pydantic")
"""Packages whose code is not followed."""


class Addresses:
    """Knows under which address a component's results are kept; a change of one weight or setting is another."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self._modules: dict[str, dict[str, nn.Module]] = {}
        self._digests: dict[str, tuple[tuple[int, ...], str | None]] = {}
        self._known: dict[tuple[str, str, str], str] = {}
        _watch_optimizers(self)

    def modules(self, path: str) -> dict[str, nn.Module]:
        """Return the component at a path, and those that its settings name, whose weights it uses too."""
        if path not in self._modules:
            parts = self.pipeline.parts
            named = [value for value in _dump(parts.resolved[path]).values() if isinstance(value, str)]
            paths = dict.fromkeys([path, *named])
            self._modules[path] = {name: parts.modules[name] for name in paths if name in parts.modules}
        return self._modules[path]

    def tensors(self, path: str) -> Iterator[Tensor]:
        """Yield every tensor that the results of a component depend on."""
        for module in self.modules(path).values():
            yield from module.parameters()
            yield from module.buffers()

    def is_trainable(self, path: str) -> bool:
        """Tell whether a component, or one that it uses, is to learn from the rows that are compiled now."""
        return any(tensor.requires_grad for tensor in self.tensors(path))

    def of(self, path: str, *, is_prompt: bool) -> str | None:
        """Return the address of a component as it is now; None where its weights are not all here."""
        weights = self._weights(path)
        if weights is None:
            return None
        key = path, weights, "bfloat16" if self.is_mixed and not is_prompt else "plain"
        if key not in self._known:
            content = {**self.description(path), "weights": weights, "arithmetic": key[2]}
            self._known[key] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
        return self._known[key]

    def description(self, path: str) -> dict[str, Any]:
        """Return what of an address a person can read: settings, and who built the component and the modality."""
        parts, registries = self.pipeline.parts, self.pipeline.plugins.registries
        modality = parts.modalities[path.split(".")[0]].settings
        blocks: list[ComponentConfig] = [parts.resolved[name] for name in self.modules(path)]
        return {
            "format": FORMAT,
            "component": path,
            "settings": [_dump(block) for block in blocks],
            "modality": modality.model_dump(mode="json", serialize_as_any=True, exclude={"understand", "generate"}),
            "plugins": [_version(registries.of(block.kind).entry(block.type).origin) for block in [*blocks, modality]],
            "code": _digest_of_code(self.modules(path).values(), [*blocks, parts.modalities[path.split(".")[0]]]),
        }

    def forget(self, changed: set[int]) -> None:
        """Forget the digests of components that have one of these tensors, by id."""
        for path in [path for path in self._digests if changed & {id(tensor) for tensor in self.tensors(path)}]:
            del self._digests[path]

    def _weights(self, path: str) -> str | None:
        """Return the digest of a component's tensors, computed when it is first asked for and after any change."""
        state: list[int] = []
        for tensor in self.tensors(path):
            state += [tensor.data_ptr(), tensor._version] if _is_here(tensor) else [id(tensor)]  # pyright: ignore[reportPrivateUsage]
        known = self._digests.get(path)
        if known is None or known[0] != tuple(state):
            known = self._digests[path] = tuple(state), digest_of_weights(self.modules(path))
        return known[1]

    @property
    def is_mixed(self) -> bool:
        """Tell whether a run computes in bfloat16 with weights that are not."""
        training = self.pipeline.config.training
        return training is not None and compute_dtype(training.precision, self.pipeline.model.device) == torch.bfloat16


def digest_of_weights(modules: dict[str, nn.Module]) -> str | None:
    """Return a digest of names, types, shapes and bytes of all that is saved of modules; None where any is away."""
    found = hashlib.sha256()
    for path, module in modules.items():
        for name, tensor in cast("dict[str, Tensor]", module.state_dict()).items():
            if not _is_here(tensor):
                return None
            found.update(f"{path} {name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _is_here(tensor: Tensor) -> bool:
    """Tell whether a tensor's values are in this process, all of them."""
    return not tensor.is_meta and not hasattr(tensor, "full_tensor")


def _dump(settings: ComponentConfig) -> dict[str, Any]:
    dump = settings.model_dump(mode="json", serialize_as_any=True)
    return {name: value for name, value in dump.items() if name not in ORIGINS}


def _version(origin: Any) -> list[str]:
    """Return distribution and version of a plugin; a plugin of one file has the digest of the file."""
    file = Path(origin.distribution)
    if not origin.version and file.is_file():
        return [file.name, hashlib.sha256(file.read_bytes()).hexdigest()]
    return [origin.distribution, origin.version]


def _digest_of_code(modules: Any, others: list[Any]) -> str:
    """Return a digest of the files that define the classes at work, those of torch excepted."""
    every: list[Any] = [*(part for module in modules for part in module.modules()), *others]
    classes: set[type[Any]] = {type(each) for each in every}
    names = {cls.__module__ for each in classes for cls in each.__mro__ if cls.__module__.split(".")[0] not in FOREIGN}
    files = {str(getattr(sys.modules.get(name), "__file__", None) or "") for name in names}
    digests = [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files if Path(file).is_file()]
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def _watch_optimizers(addresses: Addresses) -> None:
    """Forget digests when any optimiser takes a step: fused ones change weights without a trace on the tensors."""
    me = weakref.ref(addresses)

    def stepped(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if (alive := me()) is not None:
            alive.forget({id(each) for group in cast(Any, optimizer).param_groups for each in group["params"]})

    handle = register_optimizer_step_post_hook(stepped)
    weakref.finalize(addresses, handle.remove)
