"""Sound: what a YAML may say about it. Importing this loads neither torch nor a sound library."""

from __future__ import annotations

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries


@hookimpl
def register(registries: Registries) -> None:
    """Offer nothing yet."""
