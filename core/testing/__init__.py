"""The kit that holds components to their contracts: for plugin authors, for CI, and for what ships with polyjanus.

`check_plugin` returns a result per component and check; `parametrize_with_checks` makes pytest tests of the same. The
names below are imported when they are first used, so that a probe of a plugin's imports stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyjanus.core.testing.contract import Broken, Check, NotApplicable
    from polyjanus.core.testing.running import Case, Result, cases_of, check_plugin, parametrize_with_checks

__all__ = [
    "Broken",
    "Case",
    "Check",
    "NotApplicable",
    "Result",
    "cases_of",
    "check_plugin",
    "parametrize_with_checks",
]

_HOMES = {
    **dict.fromkeys(("Broken", "Check", "NotApplicable"), "contract"),
    **dict.fromkeys(("Case", "Result", "cases_of", "check_plugin", "parametrize_with_checks"), "running"),
}


def __getattr__(name: str) -> object:
    """Import a public name from its home on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
