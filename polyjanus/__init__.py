"""Plug any signal into one autoregressive transformer: understood, generated, from one YAML file.

The names below are imported when they are first used, so that `import polyjanus` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from polyjanus.core.errors import PolyjanusError
    from polyjanus.core.hookspecs import hookimpl
    from polyjanus.core.pipeline import Pipeline
    from polyjanus.core.reply import Reply

__all__ = ["Pipeline", "PolyjanusError", "Reply", "__version__", "hookimpl"]

_HOMES = {
    "Pipeline": "polyjanus.core.pipeline",
    "PolyjanusError": "polyjanus.core.errors",
    "Reply": "polyjanus.core.reply",
    "hookimpl": "polyjanus.core.hookspecs",
}


def __getattr__(name: str) -> object:
    """Import a public name from its home on first use."""
    if name == "__version__":
        from importlib.metadata import version

        return version("polyjanus")
    if name not in _HOMES:
        raise AttributeError(f"module 'polyjanus' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
