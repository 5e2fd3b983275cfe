"""`polyjanus plugins`: what is installed, what each part can be told, and whether it keeps its contracts."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import click

from polyjanus.core.cli.checking import check_command
from polyjanus.core.cli.common import Session, echo, echo_json
from polyjanus.core.cli.starting import new_command
from polyjanus.core.errors import RegistryError, UsageError, suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic.fields import FieldInfo

    from polyjanus.core.registry import Entry, Registries

PATHWAYS = {
    "encoder": ["understand"],
    "adaptor": ["understand", "generate"],
    **dict.fromkeys(("codec", "layout", "head", "sampler"), ["generate"]),
}
"""The pathways that components of each kind stand in."""


@click.group(name="plugins")
def command() -> None:
    """List what is installed and what each part can be told; check and start plugins."""


command.add_command(check_command)
command.add_command(new_command)


@command.command(name="list")
@click.option("--kind", help="Only this kind, such as encoder or head.")
@click.option("--json", "is_json", is_flag=True, help="Print a list of entries as JSON.")
@click.pass_obj
def list_plugins(session: Session, kind: str | None, is_json: bool) -> None:
    """List every type that a pipeline may name."""
    registries = session.registries()
    rows = [row(entry, registries) for entry in _entries(registries, kind)]
    if is_json:
        echo_json(rows)
        return
    table = [(each["kind"], each["type"], _capabilities(each)) for each in rows]
    widths = [max((len(words[column]) for words in table), default=0) for column in range(3)]
    for each, words in zip(rows, table, strict=True):
        missing = "" if each["available"] else f"  [needs pip install {_install(each)}]"
        start = "  ".join(f"{word:{width}}" for word, width in zip(words, widths, strict=True))
        echo(f"{start}  {each['summary']} ({_offered_by(each)}){missing}")


@command.command(name="info")
@click.argument("name")
@click.option("--kind", help="Only this kind, such as encoder or head.")
@click.option("--json", "is_json", is_flag=True, help="Print a list of entries with their fields as JSON.")
@click.pass_obj
def show_plugin(session: Session, name: str, kind: str | None, is_json: bool) -> None:
    """Show one type: what it is, who offers it, and its settings."""
    entries = _entries(session.registries(), kind)
    found = [entry for entry in entries if entry.settings.type_name() == name]
    if not found:
        conflicts = [text for registry in session.registries() if (text := registry.conflict(name))]
        known = [entry.settings.type_name() for entry in entries]
        raise RegistryError("\n".join(conflicts) or f"no type {name!r}{suggest(name, known, noun='installed')}")
    if is_json:
        echo_json([{**row(entry, session.registries()), "fields": fields(entry)} for entry in found])
        return
    echo("\n\n".join(_page(entry, session.registries()) for entry in found))


def row(entry: Entry[Any], registries: Registries) -> dict[str, Any]:
    """Return one entry as the row that `--json` prints."""
    settings = entry.settings
    return {
        "kind": settings.kind,
        "type": settings.type_name(),
        "modality": list(settings.modality_types),
        "pathways": _pathways(entry, registries),
        "distribution": entry.origin.distribution,
        "version": entry.origin.version,
        "licence": _licence(entry.origin.distribution),
        "summary": entry.summary,
        "extras": [settings.extra] if settings.extra else [],
        "available": entry.is_available,
    }


def _pathways(entry: Entry[Any], registries: Registries) -> list[str]:
    """Return the pathways that a component stands in, or that something installed gives a modality."""
    kind, settings = entry.settings.kind, entry.settings
    if kind != "modality":
        return PATHWAYS.get(kind, [])
    known = {settings.type_name(), *settings.behaves_like}
    found = {part: registries.of(part) for part in ("encoder", "codec")}
    return [
        PATHWAYS[part][0]
        for part, registry in found.items()
        if any(known & set(each.settings.modality_types) for each in registry)
    ]


@cache
def _licence(distribution: str) -> str:
    """Return the licence that an installed distribution declares; empty where it declares none."""
    try:
        declared: Any = metadata(distribution)
    except (PackageNotFoundError, ValueError):  # a file
        return ""
    return str(declared.get("License-Expression") or declared.get("License") or "").strip().split("\n")[0][:40]


def _capabilities(each: dict[str, Any]) -> str:
    """Return what a component works on and is for, in a few words."""
    extras = [f"[{extra}]" for extra in each["extras"]]
    return " ".join([*filter(None, ("/".join(each["modality"]), "+".join(each["pathways"]))), *extras])


def _offered_by(each: dict[str, Any]) -> str:
    return ", ".join(filter(None, (each["distribution"], each["licence"])))


def fields(entry: Entry[Any]) -> list[dict[str, Any]]:
    """Return the settings of one entry: name, type, default, whether it is required, and description."""
    return [_field(name, info) for name, info in entry.settings.model_fields.items() if name != "type"]


def _field(name: str, info: FieldInfo) -> dict[str, Any]:
    default = None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})
    return {
        "name": name,
        "type": type_words(info.annotation),
        "default": _plain(default),
        "required": info.is_required(),
        "description": info.description or "",
    }


def _plain(value: Any) -> Any:
    """Return a default as JSON can hold it."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, fallback=str)


def type_words(annotation: Any) -> str:
    """Return the type of a setting in words that YAML users know."""
    words = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null"}
    if annotation in words:
        return words[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_words(arguments[0])
    if origin is Literal:
        return " or ".join(repr(choice) for choice in arguments)
    if origin in (Union, UnionType):
        return " or ".join(type_words(each) for each in arguments)
    if origin in (tuple, list):
        inner = [type_words(each) for each in arguments if each is not Ellipsis]
        return f"list of {inner[0]}" if len(set(inner)) == 1 else f"list ({', '.join(inner)})"
    if origin is dict:
        return f"block of {type_words(arguments[1])}"
    return _class_words(annotation)


def _class_words(annotation: Any) -> str:
    kind = getattr(annotation, "kind", "")
    if kind:
        return f"{kind} block"
    return "block" if hasattr(annotation, "model_fields") else "any" if annotation is Any else str(annotation)


def _entries(registries: Registries, kind: str | None) -> Sequence[Entry[Any]]:
    kinds = [registry.kind for registry in registries]
    if kind is not None and kind not in kinds:
        raise UsageError(f"no kind {kind!r}{suggest(kind, kinds, noun='kinds')}")
    return [entry for registry in registries if kind in (None, registry.kind) for entry in registry]


def _install(each: dict[str, Any]) -> str:
    extras = f"[{','.join(each['extras'])}]" if each["extras"] else ""
    return f'"{each["distribution"]}{extras}"'


def _page(entry: Entry[Any], registries: Registries) -> str:
    each = row(entry, registries)
    lines = [
        f"{each['kind']} {each['type']}: {each['summary']}",
        f"  from {entry.location} {each['version']}".rstrip(),
    ]
    if each["modality"]:
        lines.append(f"  for {', '.join(each['modality'])}")
    if each["pathways"]:
        lines.append(f"  used to {' and to '.join(each['pathways'])}")
    if not each["available"]:
        lines.append(f"  not available here: pip install {_install(each)}")
    for field in fields(entry):
        value = "required" if field["required"] else f"default {field['default']!r}"
        note = f"  {field['description']}" if field["description"] else ""
        lines.append(f"  {field['name']}: {field['type']}, {value}{note}")
    return "\n".join(lines)
