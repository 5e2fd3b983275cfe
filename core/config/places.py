"""Which settings classes stand at a place of a pipeline, so that messages can offer the keys that exist there."""

from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

from polyjanus.core.config.document import Place
from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.registry import Registries
from polyjanus.core.settings import ComponentConfig, ModalityConfig, Settings


def settings_at(data: Any, place: Place, registries: Registries) -> list[type[Settings]]:
    """Return the settings classes that may stand at a place; a block without a `type` may be any of its kind."""
    annotations: list[Any] = [PipelineConfig]
    value, name = data, ""
    for key in place:
        found = [_inside(each, key) for each in _expanded(annotations, value, name, registries)]
        annotations = [each for each in found if each is not None]
        value, name = _step(value, key), str(key)
    classes = _expanded(annotations, value, name, registries)
    return [each for each in classes if isinstance(each, type) and issubclass(each, Settings)]


def keys_at(data: Any, place: Place, registries: Registries) -> list[str]:
    """Return the keys that a block at this place may have."""
    classes = settings_at(data, place, registries)
    return sorted({key for each in classes for key in each.model_fields})


def _step(value: Any, key: str | int) -> Any:
    if isinstance(value, Mapping):
        return cast("Mapping[Any, Any]", value).get(key)
    if isinstance(value, Sequence) and not isinstance(value, str) and isinstance(key, int):
        items = cast("Sequence[Any]", value)
        return items[key] if key < len(items) else None
    return None


def _expanded(annotations: Iterable[Any], value: Any, name: str, registries: Registries) -> list[Any]:
    """Open unions and annotations, and replace the base class of a kind by the class that `type` names."""
    found: list[Any] = []
    for annotation in annotations:
        origin = get_origin(annotation)
        if origin is Annotated:
            found += _expanded(get_args(annotation)[:1], value, name, registries)
        elif origin in (Union, UnionType):
            found += _expanded(get_args(annotation), value, name, registries)
        elif isinstance(annotation, type) and issubclass(annotation, ComponentConfig):
            found += _of_type(annotation, value, name, registries)
        else:
            found.append(annotation)
    return found


def _of_type(base: type[ComponentConfig], value: Any, name: str, registries: Registries) -> list[Any]:
    registry = next((each for each in registries if each.base is base), None)
    if registry is None:
        return [base]
    default = name if base is ModalityConfig else None
    named = cast("Mapping[str, Any]", value).get("type", default) if isinstance(value, Mapping) else value
    if isinstance(named, str) and named in registry:
        return [registry.get(named)]
    return [entry.settings for entry in registry] or [base]


def _inside(annotation: Any, key: str | int) -> Any:
    """Return the annotation of what a key or an index leads to, or None where it leads nowhere."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        field = annotation.model_fields.get(str(key))
        return field.annotation if field else None
    origin, arguments = get_origin(annotation), get_args(annotation)
    if not isinstance(origin, type) or not arguments:
        return None
    if issubclass(origin, Mapping):
        return arguments[-1]
    if isinstance(key, int) and origin is tuple and arguments[-1] is not Ellipsis:
        return arguments[key] if key < len(arguments) else None
    return arguments[0] if isinstance(key, int) else None
