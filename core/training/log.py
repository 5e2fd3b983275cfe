"""What a run tells: a record per step and per validation, one line each in its log, and to whoever shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from polyjanus.core.checkpoints.atomic import write_whole
from polyjanus.core.config.schema import StageConfig
from polyjanus.core.errors import TrainingError

Record = dict[str, Any]
LOG = "log.jsonl"
TIMED = frozenset({"seconds", "mfu", "memory"})
"""Entries that differ between two runs which are otherwise the same."""


class Display(Protocol):
    """Whoever shows a run to a person."""

    def stage(self, stage: StageConfig, done: int) -> None:
        """Show that a stage begins, or goes on after `done` steps."""

    def step(self, record: Record) -> None:
        """Show a step's record, or that of a validation."""


def append(log: Path, record: Record) -> None:
    """Write a record at the end of a log; a disk that does not take it is a TrainingError."""
    try:
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    except OSError as error:
        raise TrainingError(
            f"could not be written: {error}",
            where=str(log),
            hint="what was saved is untouched; make room, and go on with --resume",
        ) from error


def trim_log(log: Path, total: int) -> None:
    """Forget what was logged after the step that a run goes on from, a line that was cut off included."""
    if not log.is_file():
        return
    kept: list[str] = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            is_past = json.loads(line)["total"] <= total
        except (ValueError, TypeError, KeyError):
            continue
        kept += [line] if is_past else []
    write_whole(log, "".join(kept))
