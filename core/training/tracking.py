"""Logs that others draw: TensorBoard, W&B and whatever else accelerate knows, each by its name."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from polyjanus.core.errors import PolyjanusWarning, TrainingError, suggest
from polyjanus.core.training.log import Record

TRACKERS = "trackers"
"""Where those that write files do so, in the run's folder."""


class Tracking:
    """Hands a run's records to trackers; one that fails is told once and left out, and never ends a run."""

    def __init__(self, names: Sequence[str], folder: Path, settings: Mapping[str, Any]) -> None:
        self._trackers = {name: _start(name, folder) for name in names}
        for name in list(self._trackers):
            self._try(name, "store_init_configuration", flat(settings))

    def log(self, record: Record) -> None:
        """Hand over the numbers of a step or of a validation."""
        for name in list(self._trackers):
            numbers = {key: value for key, value in flat(record).items() if isinstance(value, int | float)}
            self._try(name, "log", numbers, step=record["total"])

    def __enter__(self) -> Tracking:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let all trackers write what they still hold."""
        for name in list(self._trackers):
            self._try(name, "finish")

    def _try(self, name: str, method: str, *values: Any, **options: Any) -> None:
        try:
            getattr(self._trackers[name], method)(*values, **options)
        except Exception as error:
            del self._trackers[name]
            warnings.warn(f"tracker {name!r} failed and is left out: {error}", PolyjanusWarning, stacklevel=2)


def _start(name: str, folder: Path) -> Any:
    """Return a tracker that has begun a run of the folder's name."""
    try:
        known = cast("dict[str, Any]", importlib.import_module("accelerate.tracking").LOGGER_TYPE_TO_CLASS)
        if name not in known:
            raise TrainingError(f"no tracker {name!r}{suggest(name, list(known), noun='trackers')}")
        importlib.import_module("accelerate").PartialState()  # its logger asks for it
        made = known[name]
        project = f"{folder.resolve().parent.name}-{folder.name}"
        tracker = made(project, folder / TRACKERS) if made.requires_logging_directory else made(project)
        tracker.main_process_only = False  # it is this process that asks
        tracker.start()
    except ImportError as error:
        raise TrainingError(
            f"tracker {name!r} needs {error.name}, which is not installed",
            hint=f'pip install "polyjanus[tracking]" {"" if name == "tensorboard" else name}'.strip(),
        ) from error
    return tracker


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested blocks by names such as `tokens/text`; what is no number is text."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(cast("Mapping[str, Any]", value), f"{prefix}{name}/")
        else:
            found[f"{prefix}{name}"] = value if isinstance(value, int | float | bool) else str(value)
    return found
