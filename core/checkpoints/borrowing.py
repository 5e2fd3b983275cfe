"""One component out of another checkpoint: `pretrained: FOLDER:image.generate.codec`, whoever wrote the folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from polyjanus.core.checkpoints.opening import open_checkpoint
from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.errors import PolyjanusError, WiringError, suggest
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, ComponentConfig

_SOURCE = re.compile(r"(?P<name>.+):(?P<path>[a-z0-9_]+(\.[a-z0-9_]+)*)")
LANGUAGE = ("backbone", "text.embedding", "text.head")
"""The component paths that the settings of a backbone stand for."""


@dataclass(frozen=True)
class Borrowed:
    """A component of another checkpoint: its settings with the architecture written out, and where its tensors are."""

    settings: ComponentConfig
    path: str
    pipeline: PipelineConfig
    folder: Path
    registries: Registries

    def tensors(self, own_path: str) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors under the names that they have in the pipeline that borrows them."""
        paths = {path: path for path in LANGUAGE} if self.path == "backbone" else {self.path: own_path}
        opened = open_checkpoint(self.folder, self.registries)
        for name, tensor in opened.tensors(lambda name: any(name.startswith(f"{path}.") for path in paths)):
            theirs = next(path for path in paths if name.startswith(f"{path}."))
            yield paths[theirs] + name.removeprefix(theirs), tensor


def borrow(settings: ComponentConfig, context: BuildContext, registries: Registries) -> Borrowed | None:
    """Return the component that `pretrained` names with its path, or None where it names none.

    What the borrower's block says itself goes before what the lender's says. A WiringError tells what does not fit.
    """
    source = getattr(settings, "pretrained", None)
    match = _SOURCE.fullmatch(source) if isinstance(source, str) else None
    if match is None:
        return None
    try:
        opened = open_checkpoint(context.locate(match["name"]), registries, is_verified=False)
    except PolyjanusError as error:
        raise WiringError(f"{source!r} cannot be read: {error}", paths=[context.path]) from error
    theirs = _component(opened.config, match["path"], context)
    if type(theirs) is not type(settings):
        raise WiringError(
            f"{source!r} is the {theirs.kind} {theirs.type!r}, this block wants the {settings.kind} {settings.type!r}",
            paths=[context.path],
        )
    unsaid = {
        name: getattr(theirs, name) for name in type(theirs).model_fields if name not in settings.model_fields_set
    }
    described = {"pretrained": None, "architecture": getattr(theirs, "architecture", None), "initialised_from": source}
    resolved = settings.model_copy(update={**unsaid, **described})
    return Borrowed(resolved, match["path"], opened.config, opened.folder, registries)


def _component(config: PipelineConfig, path: str, context: BuildContext) -> ComponentConfig:
    """Return the settings at a component path of another checkpoint."""
    value: Any = config if path == "backbone" else config.modalities
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)  # type: ignore[reportUnknownMemberType]
    if not isinstance(value, ComponentConfig):
        known = [each for each in config.component_paths() if not each.startswith("text.")]
        raise WiringError(f"that checkpoint has no component {path!r}{suggest(path, known)}", paths=[context.path])
    return value
