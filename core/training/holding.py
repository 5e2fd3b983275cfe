"""One process at a time may train in a run's folder; the lock goes with the process that holds it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from polyjanus.core.errors import TrainingError

LOCK = ".lock"


@contextmanager
def held(folder: Path) -> Generator[None]:
    """Hold a run's folder; a TrainingError says that another process does. Without file locks nothing is held."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainingError(
                "another process trains in this run", where=str(folder), hint="wait for it, stop it, or start a new run"
            ) from error
        yield
