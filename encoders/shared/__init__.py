"""What modalities share, so that none imports another: quantisation, checkpoints, signals, files."""

from __future__ import annotations

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries


@hookimpl
def register(registries: Registries) -> None:
    """Offer nothing yet."""
