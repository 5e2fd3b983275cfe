"""Which files and folders of data sets and evaluations are not there; looked up by name, nothing is opened."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.context import BuildContext

_PATTERN = re.compile(r"[*?\[{]")


def missing_files(config: PipelineConfig, folder: Path) -> Iterator[tuple[tuple[str, str, str], str]]:
    """Yield the place of each setting of a data set or an evaluation that names what is not there, and what that is.

    Such settings are `path`, `root` and all that end with it; relative paths start at `folder`. Of a pattern, what
    stands before its first folder with a wildcard has to be there.
    """
    context = BuildContext(path="data", folder=folder)
    blocks = [("data", name, settings) for name, settings in config.data.items()]
    for part, name, settings in [*blocks, *(("evaluation", name, each) for name, each in config.evaluation.items())]:
        for field in type(settings).model_fields:
            if field != "path" and not field.endswith("root"):
                continue
            for source in _texts(getattr(settings, field)):
                if "://" not in source and not context.locate_file(_plain(source)).exists():
                    yield (part, name, field), _plain(source)


def _texts(given: Any) -> list[str]:
    """Return the texts of a setting that may be one, several, or something else."""
    if isinstance(given, str):
        return [given]
    several = cast("Sequence[Any]", given) if isinstance(given, list | tuple) else ()
    return [each for each in several if isinstance(each, str)]


def _plain(source: str) -> str:
    """Return a path up to its first folder or file with a wildcard."""
    match = _PATTERN.search(source)
    if match is None:
        return source
    before, slash, _ = source[: match.start()].rpartition("/")
    return before or slash or "."
