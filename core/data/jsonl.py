"""Rows of typed parts in a JSON Lines file, found by an index of line starts and read one at a time."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any, cast

import numpy as np

from polyjanus.core.data.rows import Row, Source
from polyjanus.core.errors import DataError

Offsets = np.ndarray[tuple[int], np.dtype[np.int64]]


class JsonLines(Source):
    """One row per line that is not blank; relative `path`s inside parts start at `root`."""

    def __init__(self, file: Path, root: Path | None = None) -> None:
        if not file.is_file():
            raise DataError(f"there is no file {str(file)!r}")
        self.file = file
        self.root = root or file.parent
        self._starts, self._lines = line_starts(file)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._starts)

    def place(self, index: int) -> str:
        """Return the file and the line of a row."""
        return f"{self.file}:{self._lines[index]}"

    def row(self, index: int, noise: np.random.Generator) -> Row:
        """Return the row of one line; nothing in it is random."""
        with self.file.open("rb") as file:
            file.seek(int(self._starts[index]))
            line = file.readline()
        try:
            row: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"is no JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"is a {type(row).__name__}, not an object")
        fields = cast("dict[str, Any]", row)
        if "text" in fields and "messages" not in fields:
            fields = {**fields, "messages": [{"role": "raw", "content": fields["text"]}]}
        if not isinstance(fields.get("messages"), list):
            raise DataError(f"has the keys {sorted(fields)}; a row has a list of 'messages', or 'text'")
        return {**fields, "messages": [self._anchored(message) for message in fields["messages"]]}

    def _anchored(self, message: Any) -> Any:
        """Return the message with the paths in its parts made absolute."""
        if not isinstance(message, dict):
            return message
        block = cast("dict[str, Any]", message)
        if not isinstance(block.get("content"), list):
            return block
        return {**block, "content": [self._anchored_part(part) for part in cast("list[Any]", block["content"])]}

    def _anchored_part(self, part: Any) -> Any:
        if not isinstance(part, dict) or "path" not in part:
            return cast(Any, part)
        block = cast("dict[str, Any]", part)
        return {**block, "path": str(self.root / str(block["path"]))}


def line_starts(file: Path) -> tuple[Offsets, Offsets]:
    """Return byte offset and number of every line that is not blank."""
    starts, numbers = array("q"), array("q")
    offset = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                starts.append(offset)
                numbers.append(number)
            offset += len(line)
    return np.asarray(starts, np.int64), np.asarray(numbers, np.int64)
