"""The JSON Schema (draft-07) of pipeline files, composed from what is installed; editors complete and check with it."""

from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from polyjanus.core.config.schema import RESERVED_NAMES, PipelineConfig
from polyjanus.core.registry import Registries
from polyjanus.core.settings import ComponentConfig, ModalityConfig

Schema = dict[str, Any]

_REF = "#/definitions/"
_PARTIAL = "partial."
_MODE: Literal["validation"] = "validation"


def json_schema(registries: Registries) -> Schema:
    """Return the schema of a pipeline file: for each kind an if/then per installed type, plugins' fields included.

    A file with `extends` may leave out what its parent says, so nothing is required in it.
    """
    definitions, root = _definitions(registries)
    partial = {f"{_PARTIAL}{name}": _without_required(schema) for name, schema in definitions.items()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "polyjanus pipeline",
        "type": "object",
        "if": {"required": ["extends"]},
        "then": {"$ref": f"{_REF}{_PARTIAL}{root}"},
        "else": {"$ref": f"{_REF}{root}"},
        "definitions": definitions | partial,
    }


def _definitions(registries: Registries) -> tuple[dict[str, Schema], str]:
    """Return every definition under its name, and the name of the whole pipeline's."""
    classes: dict[str, type[ComponentConfig]] = {
        f"{registry.kind}.{entry.settings.type_name()}": entry.settings for registry in registries for entry in registry
    }
    bases: dict[str, type[ComponentConfig]] = {registry.kind: registry.base for registry in registries}
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (model, _MODE) for model in (PipelineConfig, *classes.values(), *bases.values())
    ]
    keys, drafted = models_json_schema(models, ref_template=f"{_REF}{{model}}")
    names = {_name(keys[model, _MODE]): name for name, model in (classes | bases).items()}
    drafts = cast("dict[str, Schema]", drafted["$defs"])
    definitions: dict[str, Schema] = {
        names.get(name) or name: cast("Schema", _draft_07(schema, names)) for name, schema in drafts.items()
    }
    for registry in registries:
        types = [entry.settings.type_name() for entry in registry]
        definitions[registry.kind] = _by_type(registry.kind, types, definitions)
    root = _name(keys[PipelineConfig, _MODE])
    _open_root(definitions, root, definitions["modality"]["else"]["properties"]["type"]["enum"])
    return definitions, root


def _name(reference: Mapping[str, Any]) -> str:
    return str(reference["$ref"]).removeprefix(_REF)


def _draft_07(value: Any, names: Mapping[str, str]) -> Any:
    """Rename references, and write what came after draft-07 in its words."""
    if isinstance(value, list):
        return [_draft_07(item, names) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    schema: Schema = {key: _draft_07(inner, names) for key, inner in cast("Schema", value).items()}
    if isinstance(schema.get("prefixItems"), list):
        schema["items"] = schema.pop("prefixItems")
        schema["additionalItems"] = False
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target = f"{_REF}{names.get(reference.removeprefix(_REF), reference.removeprefix(_REF))}"
        if len(schema) == 1:
            return {"$ref": target}
        del schema["$ref"]
        schema["allOf"] = [{"$ref": target}]  # draft-07 reads nothing beside a $ref
    return schema


def _by_type(kind: str, types: list[str], definitions: Mapping[str, Schema]) -> Schema:
    """Return the schema of a block of one kind: the short form `greedy`, or a block that its `type` describes."""
    short = [name for name in types if set(definitions[f"{kind}.{name}"].get("required", ())) <= {"type"}]
    block: Schema = {"type": "object", "required": ["type"], "properties": {"type": {"enum": types}}}
    if types:
        block["allOf"] = [_when_type(kind, name) for name in types]
    return {"if": {"type": "string"}, "then": {"enum": short}, "else": block}


def _when_type(kind: str, name: str) -> Schema:
    return {
        "if": {"required": ["type"], "properties": {"type": {"const": name}}},
        "then": {"$ref": f"{_REF}{kind}.{name}"},
    }


def _open_root(definitions: dict[str, Schema], root: str, modalities: list[str]) -> None:
    """Allow `extends`, and give each block under `modalities` the type that its name implies."""
    properties = definitions[root]["properties"]
    properties["extends"] = {"type": "string", "description": "a file beside this one, or builtin:NAME"}
    for name in modalities:
        definition = definitions[f"{ModalityConfig.kind}.{name}"]
        definition["required"] = [key for key in definition.get("required", ()) if key != "type"]
    properties["modalities"] = {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z][a-z0-9_]*$", "not": {"enum": sorted(RESERVED_NAMES)}},
        "properties": {name: _named_modality(name, definitions) for name in modalities},
        "additionalProperties": {"$ref": f"{_REF}{ModalityConfig.kind}"},
    }


def _named_modality(name: str, definitions: Mapping[str, Schema]) -> Schema:
    """Return the schema of a modality whose name is a type: its settings, unless it says another type."""
    empty = not definitions[f"{ModalityConfig.kind}.{name}"]["required"]
    typed: Schema = {
        "if": {"required": ["type"]},
        "then": {"$ref": f"{_REF}{ModalityConfig.kind}"},
        "else": {"$ref": f"{_REF}{ModalityConfig.kind}.{name}"},
    }
    return {"if": {"type": "null"}, "then": {}, "else": typed} if empty else typed


def _without_required(value: Any) -> Any:
    """Return a copy in which nothing is required, for files that a parent completes."""
    if isinstance(value, list):
        return [_without_required(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    schema = cast("Schema", value)
    kept = {
        key: inner if key == "if" else _without_required(inner)
        for key, inner in schema.items()
        if not _is_requirement(key, inner)
    }
    if isinstance(kept.get("$ref"), str):
        kept["$ref"] = f"{_REF}{_PARTIAL}{_name(kept)}"
    return kept


def _is_requirement(key: str, value: Any) -> bool:
    return key == "required" and isinstance(value, list)
