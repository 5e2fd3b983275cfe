"""Conversations as LLaVA and ShareGPT write them: tags in the text say where the record's media stand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from polyjanus.core.data.rows import Row, Source
from polyjanus.core.errors import DataError
from polyjanus.plugins.sources.records import Records

ROLES = {
    **{"human": "user", "user": "user"},
    **{"gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "bard": "assistant", "model": "assistant"},
    "system": "system",
}
"""Our role for each of theirs."""


class Conversations(Source):
    """One row per record; relative paths start at `root`, and `tags` are modalities by the word in angle brackets."""

    def __init__(self, file: Path, root: Path, tags: Mapping[str, str]) -> None:
        self.records, self.root, self.tags = Records(file), root, dict(tags)
        self._pattern = re.compile("(" + "|".join(re.escape(f"<{word}>") for word in self.tags) + ")")

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.records)

    def place(self, index: int) -> str:
        """Return the file and the line at which a record begins."""
        return self.records.place(index)

    def row(self, index: int, noise: np.random.Generator) -> Row:
        """Return one conversation, its media placed where the tags are."""
        record = self.records.record(index)
        try:
            return {"messages": self._messages(record), "id": record.get("id")}
        except DataError as error:
            name = f"record {record['id']!r}" if "id" in record else "record"
            raise DataError(f"{name}: {error}") from error

    def _messages(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        media = {word: list(self._media(record, word)) for word in self.tags}
        turns = list(_turns(record))
        for word, items in media.items():
            tags = sum(text.count(f"<{word}>") for _, text in turns)
            if tags != len(items):
                field = _field(record, word) or word
                raise DataError(
                    f"field {field!r} has {len(items)} item{'s' if len(items) != 1 else ''}"
                    f" but the text has {tags} <{word}>"
                )
        return [{"role": role, "content": self._parts(text, media)} for role, text in turns]

    def _parts(self, text: str, media: dict[str, list[Any]]) -> list[Any]:
        """Return text and media of one turn in order; line breaks beside a tag are the template's to make."""
        pieces = self._pattern.split(text)
        parts: list[Any] = []
        for place, piece in enumerate(pieces):
            if place % 2:
                parts.append(media[piece[1:-1]].pop(0))
                continue
            words = piece.lstrip("\n") if place else piece
            words = words.rstrip("\n") if place < len(pieces) - 1 else words
            parts += [words] if words else []
        return parts

    def _media(self, record: Mapping[str, Any], word: str) -> Iterator[dict[str, Any]]:
        """Yield the parts for a tag: paths, or objects with a path."""
        field = _field(record, word)
        found = record[field] if field else None
        for item in found if isinstance(found, list) else [] if found is None else [found]:
            block = item if isinstance(item, dict) else {"path": item}
            if not isinstance(block.get("path"), str):
                raise DataError(f"field {field!r} holds {item!r:.60}, not a path")
            yield {**block, "type": self.tags[word], "path": str(self.root / block["path"])}


def _field(record: Mapping[str, Any], word: str) -> str | None:
    """Return the name of the field that holds the media of a tag."""
    return next((name for name in (word, f"{word}s") if record.get(name) is not None), None)


def _turns(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield our role and the text of each turn."""
    if isinstance(record.get("system"), str) and record["system"]:
        yield "system", record["system"]
    field = next((name for name in ("conversations", "messages") if name in record), None)
    if field is None:
        raise DataError(f"has the fields {sorted(record)}; it needs 'conversations' or 'messages'")
    turns = record[field]
    if not isinstance(turns, list) or not turns:
        raise DataError(f"field {field!r} is no list of turns")
    for number, turn in enumerate(turns):
        where = f"field '{field}[{number}]'"
        if not isinstance(turn, dict):
            raise DataError(f"{where} is a {type(turn).__name__}, not an object")
        role, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
        if not isinstance(role, str) or role.lower() not in ROLES:
            raise DataError(f"{where} is said by {role!r}; known are {', '.join(ROLES)}")
        if not isinstance(text, str):
            raise DataError(f"{where} has no text")
        yield ROLES[role.lower()], text
