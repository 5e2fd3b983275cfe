"""Running the checks: over a plugin, as results to print, and as cases for pytest."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pydantic import ValidationError

from polyjanus.core.errors import PluginError, suggest
from polyjanus.core.manager import Plugins, load_plugins, load_target
from polyjanus.core.registry import Entry
from polyjanus.core.settings import ComponentConfig
from polyjanus.core.testing.bench import BUILT, PLUGIN, Bench, Subject
from polyjanus.core.testing.contract import (
    CHECKS,
    Broken,
    Check,
    NotApplicable,
    NotTried,
    Unset,
    place,
    raised_at,
    shown,
)

for _name in ("settings", "module", "media", "encoder", "codec", "part", "row", "other"):
    import_module(f"polyjanus.core.testing.{_name}_checks")

Outcome = Literal["passed", "failed", "skipped", "expected", "untried", "unset"]
Expected = Mapping[str, Mapping[str, str]]
BUILDING = "settings that build it"


@dataclass(frozen=True)
class Result:
    """What one check said about one component; `message` is the failure, or why it does not apply or is expected."""

    kind: str
    type: str
    check: str
    outcome: Outcome
    message: str = ""

    def as_json(self) -> dict[str, str]:
        """Return the result as `--json` prints it."""
        return asdict(self)


@dataclass(frozen=True)
class Case:
    """One check of one component, to be called; raises Broken, or NotApplicable."""

    subject: Subject
    check: Check
    reason: str = ""
    """Why it is expected to fail; empty where it is not."""

    def __str__(self) -> str:
        return f"{self.subject.kind}-{self.subject.name}-{self.check.name}"

    def __call__(self) -> None:
        """Run the check; whatever a component raises is said as a sentence that names its line."""
        is_light = self.subject.kind == PLUGIN or self.check.name.startswith("settings_")
        if not is_light:
            self._expect_built()
        try:
            self.check.run(self.subject)
        except (Broken, NotApplicable):
            raise
        except Exception as error:
            raise self._broken("no exception", error) from error

    def _expect_built(self) -> None:
        """Skip what cannot be tried; that it cannot be built is one failure, and not one per check."""
        requires = self.subject.entry.settings.requires
        if not self.subject.entry.is_available:
            raise NotApplicable(f"it needs {', '.join(requires)}, which is not installed")
        if self.subject.kind not in BUILT:
            return
        try:
            _ = self.subject.component
        except Exception as error:
            if self.check.name in ("builds", "modality_builds"):
                raise self._broken(BUILDING, error) from error
            raise NotTried("it could not be built", self._broken(BUILDING, error).cause) from error

    def _broken(self, expected: str, error: Exception) -> Broken:
        if isinstance(error, ValidationError):
            faults = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            hint = "set example_settings on the class, or give settings to the check"
            return Broken("settings that validate", f"{faults}: {hint}", place(self.subject.entry.settings), faults)
        home = self.subject.home if self.subject.kind != PLUGIN else Path(self.subject.origin)
        first = error.__cause__ or error  # what was wrapped by what called it
        where = raised_at(error.__traceback__, home) or raised_at(first.__traceback__, home)
        cause = f"{type(first).__name__} {where or first}"
        shown = error if expected == BUILDING else first
        found = f"{type(shown).__name__}: {shown}"
        return Broken(expected, found, where or place(self.subject.entry.settings), cause)


def cases_of(
    target: str | Path | ModuleType | Plugins,
    *,
    settings: Mapping[str, Any] | None = None,
    expected_failures: Expected | None = None,
) -> list[Case]:
    """Return every check of every component of a plugin: a .py file, an installed plugin, a module, or a type.

    `settings` are small settings by type, or by kind and type. `expected_failures` are reasons by type and check.
    With loaded Plugins, all that they offer is checked.
    """
    plugins, chosen, origin = _found(target)
    bench = Bench(plugins, settings)
    subjects = [Subject(bench, PLUGIN, Path(origin).stem, origin)] if origin else []
    subjects += [Subject(bench, entry.settings.kind, entry.settings.type_name()) for entry in chosen]
    return [
        Case(subject, check, _reason(subject, check, expected_failures or {}))
        for subject in subjects
        for check in CHECKS.values()
        if subject.kind in check.kinds
    ]


def _reason(subject: Subject, check: Check, expected: Expected) -> str:
    own: Mapping[str, str] = subject.entry.settings.expected_failures if subject.kind != PLUGIN else {}
    given: Mapping[str, str] = expected.get(subject.name, {})
    return given.get(check.name) or own.get(check.name, "")


def check_plugin(
    target: str | Path | ModuleType | Plugins,
    *,
    settings: Mapping[str, Any] | None = None,
    expected_failures: Expected | None = None,
) -> list[Result]:
    """Return one result per component and check; the arguments are those of `cases_of`."""
    return list(run_cases(cases_of(target, settings=settings, expected_failures=expected_failures)))


def run_cases(cases: list[Case]) -> Iterator[Result]:
    """Yield the result of each case as it is known; what fails for a reason told before was not tried."""
    told: dict[str, str] = {}
    for case in cases:
        outcome, message = _outcome(case, told)
        yield Result(case.subject.kind, case.subject.name, case.check.name, outcome, message)


def _outcome(case: Case, told: dict[str, str]) -> tuple[Outcome, str]:
    """Return how a case ends; `told` are the checks that failed so far, by their cause."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case()
    except NotTried as reason:
        return "untried", told.get(reason.cause, str(reason))
    except Unset as reason:
        return "unset", str(reason)
    except NotApplicable as reason:
        return "skipped", str(reason)
    except Broken as fault:
        if case.reason:
            return "expected", case.reason
        if fault.cause in told:
            return "untried", told[fault.cause]
        if fault.cause:
            told[fault.cause] = f"{case.subject}: {case.check.name} fails first"
        return "failed", str(fault)
    if case.reason:
        return "failed", f"expected a failure ({case.reason}); found that it passes: take it off the expected ones"
    return "passed", ""


def parametrize_with_checks(
    target: str | Path | ModuleType | Plugins,
    *,
    settings: Mapping[str, Any] | None = None,
    expected_failures: Expected | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a pytest test one `case` after the other; the test calls it.

    The arguments are those of `cases_of`. What does not apply is skipped; what is expected to fail is a strict xfail.

        @parametrize_with_checks("thermal.py")
        def test_contracts(case):
            case()
    """
    import pytest

    def run(case: Case) -> Callable[[], None]:
        def call() -> None:
            try:
                case()
            except NotApplicable as reason:
                pytest.skip(str(reason))

        return call

    marks: Any = pytest.mark
    cases = cases_of(target, settings=settings, expected_failures=expected_failures)
    parameters = [
        pytest.param(
            run(case),
            id=str(case),
            marks=[marks.xfail(reason=case.reason, strict=True, raises=Broken)] if case.reason else [],
        )
        for case in cases
    ]
    return marks.parametrize("case", parameters)


def _found(target: str | Path | ModuleType | Plugins) -> tuple[Plugins, list[Entry[ComponentConfig]], str]:
    """Return the plugins, the entries to be checked, and what a probe loads: a file or a module."""
    if isinstance(target, Plugins):
        return target, [entry for registry in target.registries for entry in registry], ""
    plugins, name = load_plugins(), target.__name__ if isinstance(target, ModuleType) else str(target)
    every = [entry for registry in plugins.registries for entry in registry]
    of_type = [entry for entry in every if entry.settings.type_name() == name]
    is_plugin = any(name in (entry.origin.plugin, entry.origin.distribution) for entry in every)
    if of_type and not is_plugin:
        return plugins, [entry for entry in of_type if entry.settings.kind in BUILT] or of_type, ""
    if name.endswith(".py") or len(Path(name).parts) > 1:
        name = _module_of(Path(name)) or str(Path(name).expanduser().resolve())
    origin = load_target(plugins, name)
    if origin is None:
        known = {each for entry in every for each in (entry.origin.plugin, entry.settings.type_name())}
        hint = "give a .py file, the name of an installed plugin, a module, or a type"
        raise PluginError(f"no plugin {name!r}{suggest(name, known, noun='installed')}", hint=hint)
    reason = plugins.broken.get(origin.distribution)
    entries = [entry for registry in plugins.registries for entry in registry if entry.origin == origin]
    if not entries and not reason:
        conflicts = [sentence for registry in plugins.registries for sentence in registry.conflicts()]
        raise PluginError("\n".join(conflicts) or f"{name} adds nothing")
    return plugins, entries, name


def _module_of(path: Path) -> str:
    """Return the module that a package's folder or `__init__.py` is installed as; empty for what is no package.

    Loaded as one file, a package cannot import its other modules: it is checked where it is installed, or not at all.
    """
    file = path / "__init__.py" if path.is_dir() else path
    if file.name != "__init__.py" or not file.is_file() or len(list(file.parent.glob("*.py"))) == 1:
        return ""
    folder = file.expanduser().resolve().parent
    spec = find_spec(folder.name) if folder.name.isidentifier() else None
    if spec is not None and spec.origin is not None and Path(spec.origin).resolve() == folder / file.name:
        return folder.name
    home = next((parent for parent in folder.parents if (parent / "pyproject.toml").is_file()), folder.parent)
    raise PluginError(
        f"{shown(file)} is a package that is not installed, so that it cannot import its other modules",
        hint=f"pip install -e {shown(home)}, then: polyjanus plugins check {folder.name}",
    )
