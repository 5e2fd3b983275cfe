"""Blocks whose `type` nobody offers: what to say, and how to keep those that are not needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict
from pydantic_core import PydanticCustomError

from polyjanus.core.errors import RegistryError, suggest

if TYPE_CHECKING:
    from polyjanus.core.registry import Registries

OPAQUE = ("metric", "source")
"""Kinds that answering needs nothing of: in what was saved, a block of an unknown type is kept as it is."""


def unknown_type(kind: str, name: str, registries: Registries) -> PydanticCustomError:
    """Return the fault of a type that nobody offers, or that two plugins claim."""
    registry = registries.of(kind)
    conflict = registry.conflict(name)
    if conflict:
        return PydanticCustomError("unknown_type", "{text}", {"text": conflict})
    text = f"no {kind} of type {name!r}{suggest(name, registry.names(), noun='installed')}"
    broken = registries.broken
    if broken:
        text += f" (plugins that failed to load: {', '.join(sorted(broken))})"
    return PydanticCustomError("unknown_type", "{text}", {"text": text})


def opaque(base: Any, block: Mapping[str, Any], reason: str) -> Any:
    """Return the settings of a type that nobody offers here: what was read is kept, and building says the reason."""

    class Opaque(base):
        is_opaque: ClassVar[bool] = True
        model_config = ConfigDict(extra="allow", defer_build=False)
        type: str

        def build(self, context: Any) -> Any:
            raise RegistryError(reason, where=context.path, hint="install its plugin, or name it: --plugin FILE.py")

    return Opaque.model_validate(dict(block))


def is_opaque(settings: Any) -> bool:
    """Tell whether settings were only kept: nobody here offers their type."""
    return getattr(settings, "is_opaque", False)
