"""Foreign checkpoint formats: a folder that another library wrote, read as a pipeline, and the way back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from polyjanus.core.config.document import document_of
from polyjanus.core.config.reading import check_document
from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.registry import Registries
from polyjanus.core.sequence.tokenizer import TextTokenizer
from polyjanus.core.settings import BuildContext, FormatConfig

if TYPE_CHECKING:
    from polyjanus.core.pipeline import Pipeline

Keeps = Callable[[str], bool]
"""Tells of one of our tensor names whether it is wanted."""


@dataclass(frozen=True)
class Exported:
    """A pipeline on its way into another format; its settings need nothing outside, its tensors have our names."""

    pipeline: PipelineConfig
    tokenizer: TextTokenizer
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class Finding:
    """One published result held against a model: its name, pass, fail or not applicable, and what was found."""

    name: str
    verdict: str
    detail: str


class CheckpointFormat(ABC):
    """One foreign layout of a checkpoint folder."""

    @abstractmethod
    def describe(self, folder: Path) -> dict[str, Any]:
        """Return the checkpoint as a pipeline file would say it, architectures written out.

        Relative paths, such as the tokenizer's `./`, start at the folder.
        """

    @abstractmethod
    def tensors(self, folder: Path, keeps: Keeps) -> Iterator[tuple[str, Tensor]]:
        """Yield our name and the tensor of everything that is wanted; nothing else is read.

        A tensor in the folder that the format does not know is a CheckpointError that names it.
        """

    @abstractmethod
    def write(self, exported: Exported, folder: Path) -> None:
        """Write a pipeline into an existing empty folder; one that does not fit the format is a UsageError."""

    def checks(self, pipeline: Pipeline, file: Path | None) -> Iterator[Finding]:
        """Yield what was published about models in this format, computed again; `file` is a medium that it needs."""
        yield from ()


def detect(folder: Path, registries: Registries) -> FormatConfig | None:
    """Return the settings of the registered format that a folder is in, if it is in any."""
    for entry in registries.formats:
        settings = entry.settings(type=entry.settings.type_name())
        if settings.detects(folder):
            return settings
    return None


def open_format(settings: FormatConfig) -> CheckpointFormat:
    """Return the reader and writer of a format."""
    return settings.build(BuildContext(path="format"))


def describe(
    folder: Path, settings: FormatConfig, registries: Registries, overrides: Sequence[str] = ()
) -> PipelineConfig:
    """Return the pipeline that a foreign folder holds, with `key.path=value` over it."""
    described = open_format(settings).describe(folder)
    if overrides:
        return check_document(document_of(described, folder, overrides), registries).config
    return PipelineConfig.model_validate(described, context={"registries": registries})
