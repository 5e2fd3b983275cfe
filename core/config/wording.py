"""From pydantic's errors to faults in our own words, each with the line that it is about."""

from collections.abc import Mapping
from typing import Any, cast

from pydantic import ValidationError

from polyjanus.core.config.document import Document, Place
from polyjanus.core.config.places import keys_at
from polyjanus.core.errors import Fault, nearest, suggest
from polyjanus.core.registry import Registries

HIDDEN = "***"
"""What stands where a value from the environment would be shown."""

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "string": "text",
    "bool": "true or false",
    "dict": "a block of keys",
    "model": "a block of keys",
    "mapping": "a block of keys",
    "tuple": "a list",
    "list": "a list",
    "none": "nothing",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_TRUTHS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def faults_of(error: ValidationError, document: Document, registries: Registries) -> list[Fault]:
    """Return the faults of a failed validation; alternatives of one place become one fault."""
    expected: dict[Place, list[str]] = {}
    faults: list[Fault] = []
    for each in error.errors(include_url=False):
        details = cast("Mapping[str, Any]", each)
        place = _place(document, tuple(details["loc"]), str(details["type"]))
        kind = str(details["type"]).removesuffix("_type").removesuffix("_parsing").split("_")[0]
        if _is_echo(details, document, place, registries):
            continue
        if str(details["type"]) == "literal_error":
            expected.setdefault(place, []).append(str(details["ctx"]["expected"]))
        elif kind in _EXPECTED and not str(details["type"]).startswith("string_"):
            expected.setdefault(place, []).append(_EXPECTED[kind])
        elif details["type"] == "string_type":
            expected.setdefault(place, []).append("text")
        else:
            faults += _faults_of_one(details, document, place, registries)
    return faults + [
        fault_at(document, place, _unexpected(names, document, place)) for place, names in expected.items()
    ]


def empty_unknown(error: ValidationError, document: Document) -> list[Place]:
    """Return the places of unknown keys in a file that have no value."""
    unknown = [each for each in error.errors(include_url=False) if each["type"] == "extra_forbidden"]
    places = [_place(document, tuple(each["loc"]), "extra_forbidden") for each in unknown]
    return [place for place in places if document.value(place) is None and document.origin(place).kind == "file"]


def fault_at(document: Document, place: Place, message: str) -> Fault:
    """Return a fault at the line of a place, or of the nearest block around it."""
    origin = document.origin(place)
    return Fault(origin.file, origin.line, ".".join(map(str, place)), message)


def _place(document: Document, location: Place, kind: str) -> Place:
    """Follow pydantic's location through the data; names of alternatives that it puts between are left out."""
    value: Any = document.data
    place: list[str | int] = []
    for index, key in enumerate(location):
        if isinstance(value, str) and key == "type":
            break
        inside = isinstance(value, Mapping) and key in value
        inside = inside or (isinstance(value, list) and isinstance(key, int) and key < len(cast("list[Any]", value)))
        if inside:
            value = cast("Any", value)[key]
            place.append(key)
        elif index == len(location) - 1 and kind in ("missing", "extra_forbidden"):
            place.append(key)
    if kind == "unknown_type" and isinstance(value, Mapping) and "type" in value:
        place.append("type")
    return tuple(place)


def _is_echo(details: Mapping[str, Any], document: Document, place: Place, registries: Registries) -> bool:
    """Tell whether another fault says the same already.

    A list counts as short because its items have faults of their own; a key is missing because it is misspelt.
    """
    if details["type"] == "missing":
        block = document.value(place[:-1])
        known = keys_at(document.data, place[:-1], registries)
        names = [key for key in cast("Mapping[str, Any]", block) if key not in known] if block else []
        return any(
            nearest(str(name), _free_keys(document, (*place[:-1], name), registries)) == place[-1] for name in names
        )
    value = document.value(place)
    return details["type"] == "too_short" and isinstance(value, list) and bool(cast("list[Any]", value))


def _faults_of_one(details: Mapping[str, Any], document: Document, place: Place, registries: Registries) -> list[Fault]:
    kind, limits = str(details["type"]), cast("dict[str, Any]", details.get("ctx", {}))
    block = document.value(place)
    if kind == "extra_forbidden":
        return [
            fault_at(document, place, f"unknown key{suggest(str(place[-1]), _free_keys(document, place, registries))}")
        ]
    if kind == "missing_type" or (kind == "unknown_type" and isinstance(block, Mapping)):
        return _faults_without_type(str(details["msg"]), document, place, registries)
    if kind == "missing":
        return [fault_at(document, place, "is missing")]
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        message = f"expected {words} {limits[key]}, found {_found(document, place)}"
    elif kind in ("too_short", "too_long"):
        message = _count_message(kind, limits)
    elif kind == "string_pattern_mismatch":
        message = f"{_found(document, place)} does not match the pattern {limits['pattern']}"
    else:
        message = _plain_message(str(details["msg"]))
    return [fault_at(document, place, message)]


def _free_keys(document: Document, place: Place, registries: Registries) -> list[str]:
    """Return the keys that the block around a place may have and does not have yet, or all if it has them."""
    known = keys_at(document.data, place[:-1], registries)
    block = document.value(place[:-1])
    taken = set(cast("Mapping[str, Any]", block)) if isinstance(block, Mapping) else set[str]()
    free = [key for key in known if key not in taken]
    return free if nearest(str(place[-1]), free) else known


def _faults_without_type(message: str, document: Document, place: Place, registries: Registries) -> list[Fault]:
    """Name every key that no settings of this kind know: one of them may have been meant as `type`."""
    known = keys_at(document.data, place, registries)
    keys = cast("Mapping[str, Any]", document.value(place) or {})
    unknown = [key for key in keys if key not in known]
    faults = [fault_at(document, (*place, key), f"unknown key{suggest(key, ['type', *known])}") for key in unknown]
    if any(nearest(key, known) == "type" for key in unknown):
        return faults
    return [fault_at(document, place, message), *faults]


def _count_message(kind: str, limits: Mapping[str, Any]) -> str:
    words, key = ("at least", "min_length") if kind == "too_short" else ("at most", "max_length")
    items = "item" if limits[key] == 1 else "items"
    return f"expected {words} {limits[key]} {items}, found {limits.get('actual_length')}"


def _plain_message(message: str) -> str:
    for prefix in ("Value error, ", "Assertion failed, "):
        message = message.removeprefix(prefix)
    return message[:1].lower() + message[1:] if message[1:2].islower() else message


def _unexpected(names: list[str], document: Document, place: Place) -> str:
    """Return what was expected and what was found, with the remedy where one is plain."""
    wanted = " or ".join(dict.fromkeys(names))
    return f"expected {wanted}, found {_found(document, place)}{_remedy(names, document, place)}"


def _remedy(names: list[str], document: Document, place: Place) -> str:
    value, origin = document.value(place), document.origin(place)
    if origin.kind == "env":
        return ""
    if "text" in names and isinstance(value, int | float):
        return f"; write '{origin.text}' if text was meant"
    if "a whole number" in names and isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    if "true or false" in names and isinstance(value, str) and value.lower() in _TRUTHS:
        return f"; write {_TRUTHS[value.lower()]}"
    if isinstance(value, str) and "'" in names[0]:
        choices = [choice.strip("' ") for choice in names[0].replace(" or ", ",").split(",")]
        match = nearest(value, choices)
        return f"; did you mean {match!r}?" if match else ""
    return ""


def _found(document: Document, place: Place) -> str:
    """Return the value at a place as it was written; one that came from the environment is hidden."""
    value, origin = document.value(place), document.origin(place)
    if isinstance(value, Mapping | list):
        return "a list" if isinstance(value, list) else "a block of keys"
    if value is None:
        return "nothing"
    if origin.kind == "env":
        return HIDDEN
    text = repr(value) if isinstance(value, str) else origin.text
    return text if len(text) <= 80 else f"{text[:77]}…"
