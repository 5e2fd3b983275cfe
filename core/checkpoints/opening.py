"""A checkpoint opened: what pipeline it holds, and a way to the tensors that are wanted, whoever wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from polyjanus.core.checkpoints import formats
from polyjanus.core.checkpoints.atomic import read_manifest, verify
from polyjanus.core.checkpoints.card import YAML
from polyjanus.core.checkpoints.components import read_components
from polyjanus.core.checkpoints.finding import find_checkpoint
from polyjanus.core.checkpoints.formats import Keeps
from polyjanus.core.checkpoints.merging import merged, without_lora
from polyjanus.core.config.reading import read_pipeline
from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.errors import ConfigError
from polyjanus.core.registry import Registries

OURS = "polyjanus"
"""The name of our own format."""
LATER = ("components/", "training/")
"""Folders of files that are compared when they are read, if they are."""


@dataclass(frozen=True)
class Opened:
    """A checkpoint: its folder, who wrote it, the pipeline in it, and its tensors by our names, read as they come."""

    folder: Path
    written_by: str
    config: PipelineConfig
    tensors: Callable[[Keeps], Iterator[tuple[str, Tensor]]]


def open_checkpoint(
    source: str | Path, registries: Registries, *, overrides: Sequence[str] = (), is_verified: bool = True
) -> Opened:
    """Return the checkpoint that a name stands for: ours, or one in a format that a plugin knows.

    `overrides` are put over its pipeline. Of ours, each file is compared with its checksum before it is read; the
    state of a training is never read here, nor are components of which nothing is wanted.
    """
    folder = find_checkpoint(source, lambda place: formats.detect(place, registries) is not None)
    foreign = formats.detect(folder, registries)
    if foreign is not None:
        config = formats.describe(folder, foreign, registries, overrides)
        reader = formats.open_format(foreign)
        return Opened(folder, foreign.type, config, lambda keeps: reader.tensors(folder, keeps))
    checks = _Checks(folder) if is_verified else None
    config = _read_saved(folder, registries, overrides)
    stored = partial(read_components, folder, check=checks)
    return Opened(folder, OURS, without_lora(config), lambda keeps: merged(stored, config, keeps))


class _Checks:
    """Compares the files of a folder with their checksums before they are read, each once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._done = folder, set[str]()
        verify(folder, lambda name: not name.startswith(LATER))

    def __call__(self, file: str) -> None:
        """Compare one file of tensors."""
        if file not in self._done:
            verify(self.folder, lambda name: name == file)
            self._done.add(file)


def _read_saved(folder: Path, registries: Registries, overrides: Sequence[str]) -> PipelineConfig:
    """Return the settings in a checkpoint; where a component is unknown, say which packages it was made with."""
    try:
        return read_pipeline(folder / YAML, registries, overrides, is_saved=True).config
    except ConfigError as error:
        if all(fault.file.startswith("override ") for fault in error.faults):
            raise
        manifest = read_manifest(folder)
        entries = [*manifest.get("components", {}).values(), *manifest.get("plugins", [])]
        made_with = {f"{entry['distribution']} {entry['version']}".strip() for entry in entries}
        files = " ".join(f"--plugin {name}" for name in sorted(made_with) if name.endswith(".py"))
        remedy = f"; add {files}" if files else ""
        raise ConfigError(error.faults, hint=f"made with: {', '.join(sorted(made_with))}{remedy}") from error
