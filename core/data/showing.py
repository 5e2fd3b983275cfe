"""What a row becomes: its messages, and position after position what stands there and whether it is learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, cast

from polyjanus.core.sequence.spans import Compiler, TokenSequence

Run = dict[str, Any]
"""Neighbouring positions of one kind: `start`, `end` (the one after the last), `kind`, `learned`, and what it is."""


def runs_of(sequence: TokenSequence, compiler: Compiler) -> list[Run]:
    """Return a sequence as runs of text, single special tokens, and items."""
    owners = {
        position: number
        for number, span in enumerate(sequence.spans)
        for position in range(span.start, span.start + span.length)
    }
    specials = _specials(compiler)

    def kind_of(position: int) -> tuple[str, int, bool]:
        if position in owners:
            return "item", owners[position], sequence.spans[owners[position]].is_learned
        is_special = sequence.ids[position] in specials
        return (
            ("special", position, sequence.learned[position])
            if is_special
            else ("text", -1, sequence.learned[position])
        )

    found: list[Run] = []
    for (kind, number, is_learned), group in groupby(range(len(sequence)), kind_of):
        positions = list(group)
        run: Run = {"start": positions[0], "end": positions[-1] + 1, "kind": kind, "learned": is_learned}
        if kind == "item":
            span = sequence.spans[number]
            run |= {"modality": span.modality, "pathway": span.pathway}
        elif kind == "special":
            run["text"] = specials[sequence.ids[positions[0]]]
        else:
            run["text"] = compiler.tokenizer.decode([sequence.ids[position] for position in positions])
        found.append(run)
    return found


def _specials(compiler: Compiler) -> dict[int, str]:
    """Return what special tokens and marks are called, by id."""
    names = {cast(int, compiler.tokenizer.id_of(token)): token for token in compiler.tokenizer.special_tokens}
    for word, ids in (("begin", compiler.vocabulary.begins), ("end", compiler.vocabulary.ends)):
        names |= {number: f"<{word}_of_{name}>" for name, number in ids.items()}
    return names


def plain(value: Any) -> Any:
    """Return messages as JSON can hold them; bytes and objects are named, not shown."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in cast("list[Any]", value)]
    if isinstance(value, bytes | bytearray):
        return f"<{len(value)} bytes>"
    return value if isinstance(value, str | int | float | bool | None) else f"<{type(value).__name__}>"


def lines_of(messages: Any) -> Iterator[str]:
    """Yield a line per message, media in brackets."""
    for message in plain(messages):
        content = message["content"]
        parts = [content] if isinstance(content, str) else content
        yield f"{message['role']}: {' '.join(_shown(part) for part in parts)}"


def _shown(part: Any) -> str:
    if isinstance(part, str):
        return repr(part)
    if part.get("type") == "text":
        return repr(part["text"])
    return f"[{', '.join(str(value) for value in part.values())}]"
