"""The side that asks: one long-lived worker process, started when first needed and again when it dies."""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from polyjanus.core.decoding.wire import receive, send
from polyjanus.core.errors import MediaError, PolyjanusWarning
from polyjanus.core.modality import Modality

SECONDS = 60.0
"""How long one item may take."""
MEMORY = 8 << 30
"""Bytes of address space that the worker may take; libraries alone reserve some two gigabytes."""
START_SECONDS = 120.0
KEPT_BYTES = 64 << 20
"""Bytes that glibc keeps for the next item and does not give back each time, which would cost a millisecond."""
MOST_WORKERS = 2
"""Workers of one process; pipelines with equal modalities share one."""


class Worker:
    """One process and the pipes to it."""

    def __init__(self, setup: Mapping[str, Any]) -> None:
        self.owner = os.getpid()
        self.lock = threading.Lock()
        own = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        own |= {f"MALLOC_{name}_THRESHOLD_": str(KEPT_BYTES) for name in ("MMAP", "TRIM")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "polyjanus.core.decoding.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, **own},
            start_new_session=True,  # Ctrl-C is for the other side, which closes this one
        )
        _widen(self.process.stdin, self.process.stdout)
        self.known = frozenset(cast("list[str]", self.ask(setup, START_SECONDS)["known"]))

    def ask(self, message: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Return the answer to a message; a worker that hangs or dies raises, and is closed."""
        try:
            send(cast(BinaryIO, self.process.stdin), dict(message))
            self._wait(seconds)
            return receive(cast(BinaryIO, self.process.stdout))
        except BaseException:  # whatever it was, the worker may now be in the middle of an answer
            self.close()
            raise

    def _wait(self, seconds: float) -> None:
        if os.name == "posix" and not select.select([cast(BinaryIO, self.process.stdout)], [], [], seconds)[0]:
            raise TimeoutError

    @property
    def is_usable(self) -> bool:
        """Tell whether the process lives, and is this process' own."""
        return self.owner == os.getpid() and self.process.poll() is None

    def close(self) -> None:
        """End the process."""
        if self.owner != os.getpid():
            return
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                cast(BinaryIO, pipe).close()


def _widen(*pipes: Any) -> None:
    """Let pipes hold a megabyte, where the system can: the two sides then seldom wait for each other."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        for pipe in pipes:
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, 1 << 20)


_workers: dict[str, Worker] = {}
_lock = threading.Lock()


@atexit.register
def close_workers() -> None:
    """End all workers."""
    while _workers:
        _workers.popitem()[1].close()


class Decoder:
    """Loads media by name of their modality: files and bytes in the worker, objects that are in memory here."""

    def __init__(self, modalities: Mapping[str, Modality[Any, Any]], plugins: Sequence[str | Path] = ()) -> None:
        self.modalities = dict(modalities)
        self.seconds = SECONDS
        self._has_failed = False
        self._setup = {
            "modalities": {name: _block(modality) for name, modality in modalities.items()},
            "plugins": [str(file) for file in plugins],
            "memory": MEMORY,
        }
        self._key = json.dumps(self._setup, sort_keys=True)

    def load(self, name: str, source: Any, start: float | None = None, duration: float | None = None) -> Any:
        """Return a medium; what cannot be decoded, takes too long or kills the worker is a MediaError."""
        modality = self.modalities[name]
        if not isinstance(source, str | Path | bytes | bytearray | memoryview):
            return modality.load(source, start, duration)
        worker = self._worker()
        if worker is None or name not in worker.known:
            return modality.load(source, start, duration)
        plain = str(source) if isinstance(source, str | Path) else bytes(cast(bytes, source))
        request = {"modality": name, "source": plain, "start": start, "duration": duration, "folder": os.getcwd()}
        answer = self._ask(request, where=plain if isinstance(plain, str) else name)
        if answer is None:
            return modality.load(source, start, duration)
        if "error" in answer:
            error = answer["error"]
            raise MediaError(error["message"], where=error["where"], hint=error["hint"])
        return modality.unpack(answer["media"])

    def _ask(self, request: dict[str, Any], where: str) -> dict[str, Any] | None:
        """Return the worker's answer; None where no worker can be started."""
        hint = "the file is damaged, or the library that reads it has a fault; no other item is lost"
        while (worker := self._worker()) is not None:
            with worker.lock:
                if not worker.is_usable:  # another thread closed it meanwhile: that is no fault of this item
                    continue
                try:
                    return worker.ask(request, self.seconds)
                except TimeoutError as error:
                    fault = f"decoding it took more than {self.seconds:g} s"
                    raise MediaError(fault, where=where, hint=hint) from error
                except (EOFError, OSError) as error:
                    fault = f"decoding it killed the decoder (exit code {worker.process.returncode})"
                    raise MediaError(fault, where=where, hint=hint) from error
        return None

    def _worker(self) -> Worker | None:
        """Return the worker for these modalities, started if need be; None where none can be started."""
        with _lock:
            worker = _workers.get(self._key)
            if self._has_failed:
                return None
            if worker is not None and worker.is_usable:
                return worker
            while len(_workers) >= MOST_WORKERS and self._key not in _workers:
                oldest = _workers.pop(next(iter(_workers)))
                with oldest.lock:  # it may be in the middle of an answer to another thread
                    oldest.close()
            try:
                worker = _workers[self._key] = Worker(self._setup)
            except (OSError, EOFError) as error:
                self._has_failed = True
                warnings.warn(
                    f"no decoder process could be started ({error}); files are read in this one",
                    PolyjanusWarning,
                    stacklevel=2,
                )
            return worker


def _block(modality: Modality[Any, Any]) -> dict[str, Any]:
    """Return the settings of a modality without its pathways, which the worker does not need."""
    settings = modality.settings
    return settings.model_dump(mode="json", serialize_as_any=True, exclude={"understand", "generate"})
