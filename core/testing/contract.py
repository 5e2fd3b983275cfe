"""What a check is: a named property of some kinds of components, and the sentence that says how it was broken."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

if TYPE_CHECKING:
    from polyjanus.core.testing.bench import Subject

CORE = str(Path(__file__).resolve().parents[1]) + os.sep


class Broken(AssertionError):
    """A contract that a component does not keep: what was expected, what was found, and where to look."""

    def __init__(self, expected: str, found: str, where: str, cause: str = "") -> None:
        super().__init__(f"expected {expected}; found {found} ({where})")
        self.expected, self.found, self.where = expected, found, where
        self.cause = cause
        """What else fails for the same reason has the same; empty where nothing does."""


class NotApplicable(Exception):
    """A check that has nothing to hold a component to; the message says why."""


class Unset(NotApplicable):
    """A check of a component whose settings have no defaults and were not given."""

    def __init__(self) -> None:
        super().__init__("its settings have no defaults and none were given")


class NotTried(NotApplicable):
    """A check that was not reached, since something that it needs has failed; `cause` is that of the failure."""

    def __init__(self, message: str, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True)
class Check:
    """A named property, the kinds of components that must have it, and the function that tests one of them."""

    name: str
    kinds: tuple[str, ...]
    summary: str
    run: Callable[[Subject], None]


CHECKS: dict[str, Check] = {}
"""Every check by name, in the order in which they are run."""


def check(*kinds: str) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    """Return a decorator that adds a function to the checks of these kinds; its docstring says the property."""

    def add(function: Callable[[Subject], None]) -> Callable[[Subject], None]:
        name: str = function.__name__
        if name in CHECKS:
            raise ValueError(f"there are two checks named {name!r}")
        CHECKS[name] = Check(name, kinds, (function.__doc__ or "").strip().split("\n")[0], function)
        return function

    return add


def expect(is_kept: bool, expected: str, found: Any, where: str) -> None:
    """Raise Broken unless a contract is kept; `where` comes from `place`."""
    if not is_kept:
        raise Broken(expected, str(found), where)


def place(owner: Any, method: str = "") -> str:
    """Return `Class.method in file:line` of a component or a class; a method it inherits from core is its class's."""
    cls: type = owner if isinstance(owner, type) else type(owner)
    target: Any = cls
    name = cls.__name__
    for parent in cls.__mro__:
        if method and method in vars(parent) and not _is_core(parent):
            found = vars(parent)[method]
            if isinstance(found, property):
                found = found.fget
            target = inspect.unwrap(cast(Any, getattr(found, "__func__", found)))
            name = f"{parent.__name__}.{method}"
            break
    try:
        file, line = inspect.getsourcefile(target) or "?", inspect.getsourcelines(target)[1]
    except (OSError, TypeError):
        return name if not method or "." in name else f"{name}.{method}"
    if method and "." not in name:
        name = f"{name}.{method}"
    return f"{name} in {shown(file)}:{line}"


def _is_core(cls: type) -> bool:
    module = cls.__module__
    return module.startswith("polyjanus.core.") or not module.startswith("polyjanus") and module.startswith("torch")


def shown(file: str | Path) -> str:
    """Return a path as a person would write it: relative to where they are, if it lies below."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def raised_at(trace: TracebackType | None, home: Path) -> str:
    """Return where in a plugin, whose files are `home` or below it, an exception came from; empty where nowhere."""
    found = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        file = Path(code.co_filename)
        if file == home or home.is_dir() and file.is_relative_to(home):
            found = f"{code.co_qualname.rpartition('<locals>.')[2]} in {shown(file)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def settings_of(subject: Subject) -> Any:
    """Return valid settings; that there are none is said once, by the check that builds."""
    try:
        return subject.settings
    except ValidationError as error:
        raise Unset from error
