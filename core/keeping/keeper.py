"""What a pipeline knows of earlier work: kept codes and features are found by what they were made of, never by name."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.errors import PolyjanusWarning
from polyjanus.core.features import Kept
from polyjanus.core.keeping.addresses import Addresses
from polyjanus.core.keeping.items import ItemDigests
from polyjanus.core.keeping.shards import Shelf
from polyjanus.core.sequence.messages import MediaPart
from polyjanus.core.sequence.spans import Load

if TYPE_CHECKING:
    from polyjanus.core.pipeline import Pipeline

HOME = ".polyjanus/kept"
"""Where results are kept beside a YAML."""


class Keeper:
    """Finds kept results for the parts of messages; it never writes."""

    def __init__(self, pipeline: Pipeline, home: Path) -> None:
        self.home = home
        self.addresses = Addresses(pipeline)
        self.items = ItemDigests(pipeline.compiler.modalities)
        self._paths = {folder.name.rpartition("-")[0] for folder in home.glob("*-*")}
        self._shelves: dict[str, Shelf] = {}

    def look(self, part: MediaPart, load: Load, *, is_prompt: bool) -> tuple[Kept | None, Any]:
        """Return what is kept for a part, and its medium where it had to be loaded to find out.

        What a component is to learn from is never taken from what it gave before.
        """
        path = path_of(part)
        if path not in self._paths or (not is_prompt and self.addresses.is_trainable(path)):
            return None, None
        shelf = self._shelf(path, is_prompt)
        if shelf is None or not len(shelf):
            return None, None
        digest, media = self.items.of(part, load)
        return None if digest is None else shelf.find(digest), media

    def _shelf(self, path: str, is_prompt: bool) -> Shelf | None:
        address = self.addresses.of(path, is_prompt=is_prompt)
        if address is None:
            return None
        name = folder_of(path, address)
        if name not in self._shelves:
            self._shelves[name] = Shelf(self.home / name, _warn)
        return self._shelves[name]


def path_of(part: MediaPart) -> str:
    """Return the path of the component that turns a part into codes or features."""
    return f"{part.modality}.{'generate.codec' if part.pathway == 'generate' else 'understand.encoder'}"


def folder_of(path: str, address: str) -> str:
    """Return the name of the folder in which results of a component are kept."""
    return f"{path}-{address}"


def home_of(config: PipelineConfig, folder: Path) -> Path:
    """Return where the results of a pipeline are kept whose relative paths start at `folder`."""
    named = config.training.kept if config.training else None
    return folder / Path(named or HOME).expanduser()


def find_home(config: PipelineConfig, *folders: Path) -> Path | None:
    """Return the first place that exists, looked for in folders and then in all above the last."""
    places = [home_of(config, folder) for folder in (*folders, *folders[-1].absolute().parents)]
    return next((place for place in places if place.is_dir()), None)


def _warn(text: str) -> None:
    warnings.warn(text, PolyjanusWarning, stacklevel=2)
