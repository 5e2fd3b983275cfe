"""One process at a time may train in a run's folder; the lock goes with the process that holds it."""

from __future__ import annotations

import os
import platform
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from polyjanus.core.errors import TrainingError

LOCK = ".lock"


@contextmanager
def held(folder: Path) -> Generator[None]:
    """Hold a run's folder; a TrainingError says which process does, or that nothing can be written there.

    Without file locks nothing is held.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with _opened(folder / LOCK) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read(200).strip()
            raise TrainingError(
                f"another process trains in this run{f': {holder}' if holder else ''}",
                where=str(folder),
                hint="wait for it, stop it, or start a new run",
            ) from error
        with suppress(OSError):  # a full disk must not keep a run from being held
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), f"process {os.getpid()} on {platform.node()}\n".encode())
        yield


def _opened(lock: Path) -> IO[str]:
    try:
        return lock.open("a+", encoding="utf-8")
    except OSError as error:
        raise TrainingError(
            f"nothing can be written there: {error.strerror or error}",
            where=str(lock.parent),
            hint="a run needs a folder that it may write to; name another with --run",
        ) from error
