"""Whatever a user may hand over as a prompt, as messages of typed parts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

from polyjanus.core.errors import UsageError, suggest
from polyjanus.core.modality import Modality

Prompt = Any
"""Text, a medium or its path as a `Path`, a part, a list of these, or a list of messages."""


class Options(TypedDict, total=False):
    """What may be said about a reply beside its outputs."""

    seed: int
    max_tokens: int
    samplers: Mapping[str, Mapping[str, Any] | str] | None


def known_options(method: str, options: Options) -> Options:
    """Return the options of a call; one that does not exist is a UsageError that names the method."""
    for name in options:
        if name not in Options.__annotations__:
            found = f"{method}() has no option {name!r}{suggest(name, Options.__annotations__, noun='options')}"
            raise UsageError(found, hint=f"options of {method}(): {', '.join(Options.__annotations__)}")
    return options


def as_messages(
    prompt: Prompt, modalities: Mapping[str, Modality[Any, Any]], understood: Collection[str]
) -> list[dict[str, Any]]:
    """Return the messages of a prompt; bare objects become parts of the modality that accepts them."""
    entries = cast("list[Any]", prompt) if isinstance(prompt, list) else [prompt]
    if not entries:
        raise UsageError("the prompt is an empty list", hint="hand over text, a medium, or a list of these")
    if all(isinstance(entry, Mapping) and "role" in entry for entry in entries):
        return entries
    readers = {name: modality for name, modality in modalities.items() if name in understood}
    return [{"role": "user", "content": [_part(entry, readers) for entry in entries]}]


def _part(entry: Any, readers: Mapping[str, Modality[Any, Any]]) -> Any:
    if isinstance(entry, str | dict):
        return cast(Any, entry)
    if isinstance(entry, Path):
        return _file_part(entry, readers)
    for name, modality in readers.items():
        if modality.accepts(entry):
            return {"type": name, modality.keys[0]: entry}
    raise UsageError(
        f"an object of type {type(entry).__name__} is of no modality of this pipeline{_shape(entry)}",
        hint="hand over text, a medium, a part such as {'type': MODALITY, 'path': …}, or a list of these;"
        f" a part says what an array is: {_array_parts(readers)}",
    )


def _file_part(path: Path, readers: Mapping[str, Modality[Any, Any]]) -> Any:
    """Return the part of a file whose suffix says what it is; two modalities that read it are a UsageError."""
    fitting = [
        name
        for name, modality in readers.items()
        if "path" in modality.keys and path.name.lower().endswith(modality.suffixes or ("/",))
    ]
    if len(fitting) == 1:
        return {"type": fitting[0], "path": str(path)}
    if fitting:
        found = f"{path.name} may be {' or '.join(map(repr, fitting))}"
    else:
        known = sorted({suffix for modality in readers.values() for suffix in modality.suffixes})
        found = f"{path.name} is of no modality of this pipeline; known are {', '.join(known) or 'none'}"
    name = fitting[0] if fitting else "MODALITY"
    hint = f"say which: {{'type': {name!r}, 'path': {str(path)!r}}}"
    raise UsageError(found, hint=hint if fitting else f"hand over text, a medium, or a part that says: {hint}")


def _array_parts(readers: Mapping[str, Modality[Any, Any]]) -> str:
    """Return how an array is handed over for each modality."""
    return " or ".join(f"{{'type': {name!r}, {modality.keys[0]!r}: array}}" for name, modality in readers.items())


def _shape(entry: Any) -> str:
    """Return shape and dtype of an array, for the message."""
    shape, dtype = getattr(entry, "shape", None), getattr(entry, "dtype", None)
    return "" if shape is None else f" (shape {tuple(shape)}, {dtype})"
