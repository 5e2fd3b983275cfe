"""JSON objects in a file, one per line or in one long list, found by an index and read one at a time."""

from __future__ import annotations

import json
import mmap
import re
from pathlib import Path
from typing import Any

import numpy as np

from polyjanus.core.data.jsonl import line_starts
from polyjanus.core.errors import DataError

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}]|"', re.DOTALL)
_OPENING, _CLOSING, _QUOTE = b"[{", b"]}", b'"'
_BLANK = b"\xef\xbb\xbf \t\r\n"


class Records:
    """The objects of a JSON list or of JSON Lines; neither is ever in memory as a whole."""

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise DataError(f"there is no file {str(file)!r}")
        self.file = file
        with file.open("rb") as opened:
            is_list = opened.read(4096).lstrip(_BLANK).startswith(b"[")
        self._starts, self._lines, self._ends = _list_index(file) if is_list else (*line_starts(file), None)

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self._starts)

    def place(self, index: int) -> str:
        """Return file and line at which an object begins."""
        return f"{self.file}:{self._lines[index]}"

    def record(self, index: int) -> dict[str, Any]:
        """Return one object."""
        with self.file.open("rb") as file:
            file.seek(int(self._starts[index]))
            end = self._ends
            content = file.readline() if end is None else file.read(int(end[index] - self._starts[index]))
        try:
            record = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError(f"is no JSON: {error}") from None
        if not isinstance(record, dict):
            raise DataError(f"is a {type(record).__name__}, not an object")
        return record


def _list_index(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return start, line and end of every element of a JSON list."""
    starts: list[int] = []
    lines: list[int] = []
    ends: list[int] = []
    depth, start, counted, line = 0, 0, 0, 1
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for match in _TOKEN.finditer(content):
            token = match[0]
            if token == _QUOTE:
                break  # a text that never ends
            if token in _OPENING:
                depth += 1
                if depth == 2:
                    start = match.start()
                    line += content[counted:start].count(b"\n")
                    counted = start
                    lines.append(line)
            elif token in _CLOSING:
                depth -= 1
                if depth == 1:
                    starts.append(start)
                    ends.append(match.end())
                elif not depth:
                    return np.array(starts, np.int64), np.array(lines, np.int64), np.array(ends, np.int64)
            elif depth == 1:
                raise DataError(f"{file} is a list of texts, not of objects")
    raise DataError(f"{file} is cut off: its list does not end", hint=f"{len(starts)} whole objects were found")
