"""`polyjanus plugins check`: hold a plugin to its contracts, and say what is wrong where."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from polyjanus.core.cli.common import Session, echo, echo_json
from polyjanus.core.errors import UsageError

if TYPE_CHECKING:
    from polyjanus.core.testing import Result

MARKS = {
    "passed": "ok",
    "failed": "FAILED",
    "skipped": "-",
    "expected": "expected",
    "untried": "untried",
    "unset": "unset",
}
FAILED = 1
SHOWN = 4
"""Checks of one component that are named of those not tried; --all names every one."""


@click.command(name="check")
@click.argument("target", metavar="NAME|FILE")
@click.option("--settings", "text", metavar="JSON", help='Small settings by type: \'{"my_encoder": {"width": 8}}\'.')
@click.option("--all", "is_all", is_flag=True, help="Also list what passed and what does not apply.")
@click.option("--json", "is_json", is_flag=True, help="Print a list of results as JSON.")
@click.pass_obj
def check_command(session: Session, target: str, text: str | None, is_all: bool, is_json: bool) -> int:
    """Hold a plugin to its contracts: a .py file, an installed plugin, a module or one type.

    Exits with 1 if a check fails.
    """
    from polyjanus.core.testing.running import cases_of, run_cases

    given = _settings(text)
    cases = cases_of(target, settings=given)
    results: list[Result] = []
    for result in run_cases(cases):
        results.append(result)
        if not is_json and (is_all or result.outcome in ("failed", "expected")):
            echo(line(result))
    counts = Counter(result.outcome for result in results)
    if is_json:
        echo_json([result.as_json() for result in results])
    else:
        echo("\n".join([*([] if is_all else untried(results)), summary(results, counts)]))
    return FAILED if counts["failed"] else 0


def line(result: Result) -> str:
    """Return one result as a line: outcome, component, check, and the sentence."""
    words = f"{MARKS[result.outcome]:8} {result.kind} {result.type}: {result.check}"
    return f"{words}\n    {result.message}" if result.message else words


def untried(results: list[Result]) -> list[str]:
    """Return what was not tried as lines: the check that failed in its place, and under it each component's checks."""
    groups: dict[str, dict[str, list[str]]] = {}
    for result in results:
        if result.outcome == "untried":
            components = groups.setdefault(result.message, {})
            components.setdefault(f"{result.kind} {result.type}", []).append(result.check)
    lines: list[str] = []
    for reason, components in groups.items():
        lines.append(f"not tried, since {reason}:")
        for component, checks in components.items():
            more = f" and {len(checks) - SHOWN} more" if len(checks) > SHOWN else ""
            lines.append(f"    {component}: {', '.join(checks[:SHOWN])}{more}")
    return lines


def summary(results: list[Result], counts: Counter[str]) -> str:
    """Return how many checks of how many components ended how."""
    components = len({(result.kind, result.type) for result in results})
    words = [f"{counts['passed']} passed", f"{counts['failed']} failed"]
    words += [f"{counts['untried']} not tried"] * bool(counts["untried"])
    words += [f"{counts['unset']} not tried: give --settings or example_settings"] * bool(counts["unset"])
    words += [f"{counts['skipped']} do not apply"] * bool(counts["skipped"])
    words += [f"{counts['expected']} fail as expected"] * bool(counts["expected"])
    return f"{components} components, {len(results)} checks: {', '.join(words)}"


def _settings(text: str | None) -> dict[str, Any]:
    """Return the settings of `--settings`: JSON, or the path of a file that holds it."""
    if text is None:
        return {}
    try:
        content = Path(text).read_text(encoding="utf-8") if text.endswith(".json") else text
        given = json.loads(content)
    except ValueError as error:
        raise UsageError(f"--settings is no JSON: {error}", hint='write \'{"my_encoder": {"width": 8}}\'') from error
    if not isinstance(given, dict):
        raise UsageError("--settings is no JSON object", hint='write \'{"my_encoder": {"width": 8}}\'')
    return cast("dict[str, Any]", given)
