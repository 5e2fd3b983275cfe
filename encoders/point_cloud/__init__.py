"""Point clouds: what a YAML may say about them. Importing this loads neither torch nor Open3D."""

from __future__ import annotations

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries


@hookimpl
def register(registries: Registries) -> None:
    """Offer nothing yet."""
