"""Checks of sources: rows that are conversations, the same each time and in any order, and data that are not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from polyjanus.core.data.rows import Source
from polyjanus.core.errors import PolyjanusError
from polyjanus.core.sequence.messages import Pathways, read_messages
from polyjanus.core.settings import BuildContext
from polyjanus.core.testing.bench import Subject
from polyjanus.core.testing.contract import NotApplicable, Unset, check, expect, place, settings_of

ROWS = 6
"""Rows that are looked at: as many from the beginning, less one, and the last."""
NO_KEY = {"type", "text", "pathway", "start", "duration"}


@check("source")
def source_rows_are_conversations(subject: Subject) -> None:
    """A row is a mapping with `messages` of roles and typed parts, of which something is learned; each has a place."""
    source = _opened(subject)
    where = place(source, "row")
    for index in _indices(source):
        row: Any = source.row(index, _noise(index))
        is_row = isinstance(cast(object, row), Mapping) and bool(row.get("messages"))
        expect(is_row, "a mapping with 'messages'", f"a {type(cast(object, row)).__name__} at row {index}", where)
        try:
            modalities = {name: _modality(subject, name, part) for name, part in _parts(row["messages"])}
            known = frozenset(modalities)
            messages = read_messages(row["messages"], modalities, Pathways(known, known))
        except PolyjanusError as error:
            expect(False, "messages of 'role' and 'content', text or typed parts", str(error), where)
        else:
            is_learned = any(message.role in ("assistant", "raw") for message in messages)
            expect(is_learned, "a message of the assistant to learn from", row["messages"], where)
        expect(bool(source.place(index)), "words for where a row is", "none", place(source, "place"))


@check("source")
def source_rows_are_repeatable(subject: Subject) -> None:
    """A row is a function of its number and the noise it is given: the same in any order, and when opened again."""
    source, again = _opened(subject), _opened(subject)
    where = place(source, "row")
    expect(len(source) == len(again), f"{len(source)} rows each time", len(again), place(source, "__len__"))
    rows = {index: source.row(index, _noise(index)) for index in _indices(source)}
    for index in reversed(rows):
        for words, opened in (("in another order", source), ("opened again", again)):
            is_same = _is_equal(rows[index], opened.row(index, _noise(index)))
            expect(is_same, f"the same row {index} {words}", "another row", where)


@check("source")
def missing_data_are_told(subject: Subject) -> None:
    """A `path` that leads nowhere is an error of ours that names it, when the source is opened or first read."""
    cls, name = subject.entry.settings, "no_such_place_3f9a"
    if "path" not in cls.model_fields:
        raise NotApplicable("it has no setting 'path'")
    block = {**subject.bench.block(subject.kind, subject.name), "path": f"./{name}"}
    try:
        settings = cls.model_validate(block, context=subject.bench.context)
    except ValueError as error:
        raise Unset from error
    where = place(cls, "build")
    try:
        source: Source = settings.build(BuildContext(path="data.x", folder=Path.cwd()))
        found = f"a source of {len(source)} rows"
    except PolyjanusError as error:
        expect(name in str(error), f"an error that names {name!r}", str(error), where)
        return
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    expect(False, "a DataError for a path that leads nowhere", found, where)


def _opened(subject: Subject) -> Source:
    source: Source = settings_of(subject).build(BuildContext(path="data.x", folder=Path.cwd()))
    expect(len(source) > 0, "rows", "none", place(source, "__len__"))
    return source


def _indices(source: Source) -> list[int]:
    return sorted({*range(min(ROWS - 1, len(source))), len(source) - 1})


def _noise(index: int) -> np.random.Generator:
    return np.random.default_rng([7, index])


def _parts(messages: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield modality and part of everything in messages that is no text."""
    for message in messages:
        content: Any = cast("Mapping[str, Any]", message).get("content") if isinstance(message, Mapping) else None
        for part in (
            cast("list[Any]", content) if isinstance(content, Sequence) and not isinstance(content, str) else ()
        ):
            if isinstance(part, Mapping) and isinstance(name := cast("dict[str, Any]", part).get("type"), str):
                if name != "text":
                    yield name, cast("dict[str, Any]", part)


def _modality(subject: Subject, name: str, part: Mapping[str, Any]) -> Any:
    """Return the installed modality of a name, or one that takes the part as it is: names are the pipeline's."""
    try:
        return subject.bench.settings("modality", name).build(BuildContext(path=name))
    except (PolyjanusError, ValueError):
        return SimpleNamespace(keys=tuple(key for key in part if key not in NO_KEY))


def _is_equal(mine: Any, theirs: Any) -> bool:
    """Tell whether two rows are one, media of arrays included."""
    if type(mine) is not type(theirs):
        return False
    if isinstance(mine, np.ndarray):
        return bool(np.array_equal(cast(Any, mine), theirs, equal_nan=cast(Any, mine).dtype.kind == "f"))
    if isinstance(mine, Mapping):
        one, other = cast("Mapping[Any, Any]", mine), cast("Mapping[Any, Any]", theirs)
        return one.keys() == other.keys() and all(_is_equal(one[key], other[key]) for key in one)
    if isinstance(mine, list | tuple):
        pairs = cast("list[Any]", mine), cast("list[Any]", theirs)
        return len(pairs[0]) == len(pairs[1]) and all(map(_is_equal, *pairs))
    if is_dataclass(mine):
        return all(_is_equal(getattr(mine, each.name), getattr(theirs, each.name)) for each in fields(mine))
    return bool(mine == theirs) or hasattr(mine, "tobytes") and mine.tobytes() == theirs.tobytes()
