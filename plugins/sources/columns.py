"""Rows of columns: which files they are in, and how columns become messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

from polyjanus.core.data.rows import Row
from polyjanus.core.errors import DataError
from polyjanus.plugins.sources import MESSAGES, ColumnSettings

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
KNOWN_KEYS = ("type", "text", "pathway", "start", "duration")
MOST_FILES = 100_000

Find = Callable[[str], str | bytes]
"""Returns what a path in a row stands for: an absolute path, or bytes."""


def expand(paths: str | Sequence[str], locate: Callable[[str], Path]) -> list[Path]:
    """Return the files that paths stand for: braces are written out, `*` is looked up; a plain path need not exist."""
    found: list[Path] = []
    for path in [paths] if isinstance(paths, str) else paths:
        for name in _unbraced(path):
            located = str(locate(name))
            matches = sorted(glob(located, recursive=True)) if re.search(r"[*?\[]", name) else [located]
            if not matches:
                raise DataError(f"no file matches {located!r}")
            found += map(Path, matches)
    return found


def _unbraced(path: str) -> Iterator[str]:
    match = _BRACES.search(path)
    if match is None:
        yield path
        return
    numbers = _RANGE.fullmatch(match[1])
    if numbers:
        first, last = int(numbers[1]), int(numbers[2])
        if last - first >= MOST_FILES:
            raise DataError(f"{path!r} stands for more than {MOST_FILES} files")
        choices = [str(number).zfill(len(numbers[1])) for number in range(first, last + 1)]
    else:
        choices = match[1].split(",")
    for choice in choices:
        yield from _unbraced(path[: match.start()] + choice + path[match.end() :])


class ColumnRows:
    """Turns the columns of a row into messages, as settings say."""

    def __init__(self, settings: ColumnSettings) -> None:
        self.medium, self.task = settings.medium, settings.task
        self.pairing = settings.pairing()

    def row(self, values: Mapping[str, Any], columns: Mapping[str, str], find: Find, noise: np.random.Generator) -> Row:
        """Return the messages of a row whose columns have roles: messages, or a medium, text and prompt."""
        told = {role: values[name] for name, role in reversed(list(columns.items())) if values.get(name) is not None}
        if MESSAGES in told:
            spare = {name: list(value) for name, value in values.items() if isinstance(value, list)}
            return {"messages": [_message(message, find, spare) for message in _listed(told[MESSAGES])]}
        for role in (self.medium, "text"):
            if role not in told:
                names = ", ".join(name for name, given in columns.items() if given == role) or "no column"
                raise DataError(f"has no {role!r} ({names})")
        if self.task is None:
            raise DataError(f"has {self.medium!r} and text", hint="say 'task: understand' or 'task: generate'")
        prompt = told.get("prompt")
        words = told["text"]
        if not isinstance(words, str) or not isinstance(prompt, str | None):
            raise DataError(f"its text is {words!r:.60} and its prompt {prompt!r:.60}; both are texts")
        return {"messages": self.pairing.messages(_source(told[self.medium], find), words, noise, prompt)}


def _listed(messages: Any) -> list[Any]:
    if not isinstance(messages, list):
        raise DataError(f"its messages are a {type(messages).__name__}, not a list")
    return messages


def _source(value: Any, find: Find) -> str | bytes:
    """Return the path or the bytes of a medium; the structs of `datasets` have either or both."""
    if isinstance(value, Mapping):
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if isinstance(value, str):
        return find(value)
    if isinstance(value, bytes):
        return value
    raise DataError(f"a medium is a {type(value).__name__}, not bytes, a path or a struct of these")


def _message(message: Any, find: Find, spare: dict[str, list[Any]]) -> Any:
    """Return a message with paths found and empty fields of its parts left out."""
    if not isinstance(message, Mapping) or not isinstance(message.get("content"), list):
        return message
    return {**message, "content": [_part(part, find, spare) for part in message["content"]]}


def _part(part: Any, find: Find, spare: dict[str, list[Any]]) -> Any:
    """Return a part; a medium that the part does not hold is the next of a column such as `images`."""
    if not isinstance(part, Mapping):
        return part
    block = {key: value for key, value in part.items() if value is not None}
    if block.get("type") == "text" or "type" not in block:
        return block
    kept = {key: value for key, value in block.items() if key in KNOWN_KEYS and key != "text"}
    keys = [key for key in block if key not in KNOWN_KEYS]
    if keys:
        return {**kept, "path": _source(block[keys[0]], find)}
    queue = next((spare[name] for name in (f"{block['type']}s", block["type"]) if spare.get(name)), None)
    if queue is None:
        raise DataError(f"a part of type {block['type']!r} has no medium, nor has the row one left for it")
    return {**kept, "path": _source(queue.pop(0), find)}
