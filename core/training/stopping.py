"""Stopping a run from outside: the first signal waits for the step to end, the second does not."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ONE = 1.0
"""Seconds in which several signals are one: a terminal and a launcher may each send theirs."""


class Stopping:
    """A context in which the first SIGINT or SIGTERM is only noted, so that a step is done wholly or not at all."""

    def __init__(self) -> None:
        self._asked: int | None = None
        self._since = 0.0
        self._before: dict[int, Any] = {}

    @property
    def is_asked(self) -> bool:
        """Tell whether a signal has come."""
        return self._asked is not None

    def leave(self) -> None:
        """Raise what the signal stands for: KeyboardInterrupt, or SystemExit with status 143."""
        if self._asked == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():  # Python delivers signals to no other
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.is_asked and time.monotonic() - self._since >= ONE:
            self._asked = number
            self.leave()
        if not self.is_asked:
            self._asked, self._since = number, time.monotonic()
