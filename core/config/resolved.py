"""A pipeline written out in full: every default filled, and beside each value where it came from."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from polyjanus.core.config.document import Document, Place
from polyjanus.core.config.reading import Loaded
from polyjanus.core.config.scalars import ScalarError, read_scalar

_PLAIN = re.compile(r"[A-Za-z0-9_./~-](?:[A-Za-z0-9_ ./@+-]*[A-Za-z0-9_./@+-])?")
_ESCAPED = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def resolved(loaded: Loaded) -> str:
    """Return the whole pipeline as YAML; values from the environment are written as `${env:NAME}`."""
    data = loaded.config.model_dump(mode="json")
    return "\n".join(_block(loaded.document, data, (), "")) + "\n"


def written(document: Document) -> str:
    """Return what the file, its parents and the overrides say, without defaults."""
    return "\n".join(_block(document, document.data, (), "")) + "\n"


def _block(document: Document, block: Mapping[str, Any], place: Place, indent: str) -> Iterator[str]:
    for key, value in sorted(block.items(), key=lambda item: item[0] != "type"):
        yield from _entry(document, value, (*place, key), f"{indent}{_scalar(key)}:", indent)


def _entry(document: Document, value: Any, place: Place, start: str, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        yield start
        yield from _block(document, cast("Mapping[str, Any]", value), place, f"{indent}  ")
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in cast("list[Any]", value)):
        yield start
        for index, item in enumerate(cast("list[Any]", value)):
            yield from _item(document, item, (*place, index), f"{indent}  ")
    else:
        yield f"{start} {_leaf(document, value, place)}  # {_source(document, place)}"


def _item(document: Document, item: Any, place: Place, indent: str) -> Iterator[str]:
    if not isinstance(item, Mapping) or not item:
        yield f"{indent}- {_leaf(document, item, place)}  # {_source(document, place)}"
        return
    lines = list(_block(document, cast("Mapping[str, Any]", item), place, f"{indent}  "))
    yield f"{indent}- {lines[0].lstrip()}"
    yield from lines[1:]


def _leaf(document: Document, value: Any, place: Place) -> str:
    """Return a value on one line."""
    if isinstance(value, list):
        return f"[{', '.join(_leaf(document, item, (*place, i)) for i, item in enumerate(cast('list[Any]', value)))}]"
    if isinstance(value, Mapping):
        blocks = cast("Mapping[str, Any]", value).items()
        return f"{{{', '.join(f'{_scalar(key)}: {_leaf(document, item, (*place, key))}' for key, item in blocks)}}}"
    origin = document.origins.get(place)
    if origin is None or origin.kind != "env":
        return _scalar(value)
    return _scalar(origin.text) if isinstance(value, str) else origin.text  # unquoted it is read as a number again


def _scalar(value: Any) -> str:
    """Return one scalar as YAML that reads back as the same value."""
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        is_text = isinstance(read_scalar(value), str)
    except ScalarError:
        is_text = False
    if is_text and _PLAIN.fullmatch(value) and not value.startswith(("- ", "---", "...")) and value != "-":
        return value
    text = json.dumps(value, ensure_ascii=False)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _source(document: Document, place: Place) -> str:
    """Return where a value came from: file and line, an override, the environment, or a default."""
    origin = document.origins.get(place)
    if origin is None and place[-1] == "type" and isinstance(document.value(place[:-1]), str):
        origin = document.origins.get(place[:-1])  # `sampler: greedy` is short for `sampler: {type: greedy}`
    if origin is None:
        return "default"
    return f"{origin} (environment)" if origin.kind == "env" else str(origin)
