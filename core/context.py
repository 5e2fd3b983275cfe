"""What a component is told about its surroundings when it is built, and where the paths in a YAML start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyjanus.core.modality import Modality


@dataclass(frozen=True, kw_only=True)
class BuildContext:
    """What a component may need to know about its surroundings when it is built."""

    path: str
    """The component path, such as `image.understand.encoder`."""
    d_model: int = 0
    """Width of the backbone."""
    vocab_size: int = 0
    """Ids of the text tokenizer."""
    width_in: int = 0
    """Width of the features or code embeddings that come in."""
    width_out: int = 0
    """Width that must come out."""
    cardinality: int = 0
    """Number of codes per code book; for a head, the layout's special codes included."""
    num_codebooks: int = 1
    """Code books, or for a head the columns of one frame."""
    max_codes: int = 0
    """The most codes one item has."""
    min_codes: int = 1
    """The fewest codes one item has; as many as the most where all have the same number."""
    modality: Modality[Any, Any] | None = None
    """The modality that the component belongs to, with its settings."""
    parts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Parts that were built before this one, by component path."""
    folder: Path = field(default_factory=Path)
    """The folder that relative paths start from: that of the YAML file."""

    def locate(self, source: str) -> str:
        """Return a local path made absolute; hub names pass unchanged."""
        return locate(source, self.folder)

    def locate_file(self, source: str) -> Path:
        """Return the absolute path of a file or folder, which is never a hub name."""
        return (self.folder / Path(source).expanduser()).resolve()


def is_local(source: str) -> bool:
    """Tell whether a `pretrained` names a path (it starts with `./`, `../`, `/` or `~`) and not a hub id."""
    return source.startswith(("./", "../", "/", "~")) or source in {".", ".."}


def locate(source: str, folder: Path) -> str:
    """Return the absolute path of a local `source` relative to `folder`; a hub id passes unchanged."""
    if not is_local(source):
        return source
    return str((folder / Path(source).expanduser()).resolve())
