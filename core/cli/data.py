"""`polyjanus data`: data sets read once before a run, and one row shown as the model meets it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polyjanus.core.cli.common import Session, echo, echo_json, log, only_overrides, progress_bar
from polyjanus.core.errors import ConfigError, DataError, PolyjanusError, UsageError, suggest

if TYPE_CHECKING:
    from polyjanus.core.config.reading import Loaded
    from polyjanus.core.data.checking import SourceReport
    from polyjanus.core.data.rows import Split
    from polyjanus.core.sequence.spans import Compiler

SHOWN = 20
"""Bad rows and duplicates that a report for people names, at most; JSON has all."""
_yaml = click.argument("yaml", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_overrides = click.argument("overrides", nargs=-1)


@click.group(name="data")
def command() -> None:
    """Check data sets before a run, and show what a row becomes.

    No weights are loaded and nothing is asked of a network.
    """


@command.command()
@_yaml
@_overrides
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N rows of each data set.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_obj
def check(session: Session, yaml: Path, overrides: tuple[str, ...], limit: int | None, as_json: bool) -> int:
    """Read every row once: lengths, items, what would be dropped, and bad rows with file, line and reason.

    Exits with 2 where a data set is empty, cannot be read, or has more bad rows than training.bad_rows allows.
    """
    loaded, compiler = _open(session, yaml, overrides)
    reports = [_check(name, loaded, compiler, limit) for name in loaded.config.data]
    notes = _notes(loaded, reports)
    is_usable = all(report.is_usable for report in reports)
    if as_json:
        echo_json({"usable": is_usable, "sources": [report.as_json() for report in reports], "notes": notes})
    else:
        for report in reports:
            _print(report, limit)
        for note in notes:
            echo(f"note: {note}")
    if not is_usable:
        log(f"not usable: {', '.join(report.name for report in reports if not report.is_usable)}")
    return 0 if is_usable else 2


@command.command()
@_yaml
@_overrides
@click.option("--source", "name", metavar="NAME", help="The data set; may be left out where there is one.")
@click.option("--row", type=click.IntRange(0), required=True, help="Its number in the data set, from 0.")
@click.option("--json", "as_json", is_flag=True, help="Print the row as JSON.")
@click.pass_obj
def show(session: Session, yaml: Path, overrides: tuple[str, ...], name: str | None, row: int, as_json: bool) -> None:
    """Show one row: its messages, what stands at each position, what of it is learned, and what is dropped."""
    loaded, compiler = _open(session, yaml, overrides)
    shown = _shown(loaded, compiler, named(loaded, name), row)
    if as_json:
        echo_json(shown)
    else:
        _print_row(shown)


def _open(session: Session, yaml: Path, overrides: tuple[str, ...]) -> tuple[Loaded, Compiler]:
    """Return the pipeline and what compiles its rows."""
    from polyjanus.core.cli.validate import wiring_fault
    from polyjanus.core.data.trial import trial_compiler
    from polyjanus.core.model.wiring import check_wiring

    loaded = session.read(yaml, only_overrides(overrides))
    if not loaded.config.data:
        raise UsageError(f"{yaml} has no 'data' block")
    wiring = check_wiring(loaded, session.registries())
    if wiring.faults:
        raise ConfigError([wiring_fault(loaded, fault) for fault in wiring.faults])
    return loaded, trial_compiler(loaded, wiring, session.registries(), session.plugins().files)


def _check(name: str, loaded: Loaded, compiler: Compiler, limit: int | None) -> SourceReport:
    from polyjanus.core.data.checking import SourceReport, check_rows
    from polyjanus.core.data.opening import open_source
    from polyjanus.core.data.rows import split
    from polyjanus.core.data.trial import bad_rows_config, row_compiler

    config = loaded.config
    settings = config.data[name]
    seed = config.training.seed if config.training else 0
    report = SourceReport(name, settings.type)
    try:
        source = open_source(name, settings, Path(loaded.document.file).absolute().parent)
        report.rows, report.held_out = len(source), len(split(name, source, settings.validation, seed)[1])
    except DataError as error:
        report.error = str(error)
        return report
    report.allowed = bad_rows_config(config).allowed(len(source))
    with progress_bar(name, min(len(source), limit or len(source))) as tick:
        check_rows(report, source, row_compiler(config, compiler), seed=seed, limit=limit, tick=tick)
    return report


def _notes(loaded: Loaded, reports: list[SourceReport]) -> list[str]:
    from polyjanus.core.data.opening import repeats

    if any(report.error for report in reports):
        return []
    return list(repeats(loaded.config, {report.name: report.rows - report.held_out for report in reports}))


def _print(report: SourceReport, limit: int | None) -> None:
    if report.error:
        echo(f"{report.name} ({report.type}): {report.error}")
        return
    read = f", the first {limit} read" if limit and limit < report.rows else ""
    echo(f"{report.name} ({report.type}): {report.rows} rows, {report.held_out} held out{read}")
    if positions := report.positions():
        echo("  positions: {min} to {max}, median {median}, 95 % up to {p95}".format(**positions))
    learned = ", ".join(f"{count:,} of {name}" for name, count in report.learned.items() if count)
    items = ", ".join(f"{count:,} of {name}" for name, count in report.items.items())
    echo(f"  items: {items or 'none'}; learned positions: {learned or 'none'}")
    if report.over:
        lost = f"{report.dropped_items} items and {report.dropped_positions} positions would be dropped"
        echo(f"  longer than max_tokens ({report.max_tokens}): {report.over} rows; {lost}")
    duplicates = [f"{place} ({count} times)" for place, count in report.places.items() if count > 1]
    print_some("the same place", duplicates)
    print_some(f"bad rows ({report.allowed} allowed)", [f"{bad['place']}: {bad['reason']}" for bad in report.bad])


def print_some(title: str, lines: list[str]) -> None:
    """Print a title with the number of lines, and the first of them; nothing where there are none."""
    if lines:
        echo(f"  {title}: {len(lines)}")
    for line in lines[:SHOWN]:
        echo(f"    {line}")
    if len(lines) > SHOWN:
        echo(f"    and {len(lines) - SHOWN} more; --json has all")


def named(loaded: Loaded, name: str | None) -> str:
    """Return the data set that is meant; it need not be said where there is one."""
    names = list(loaded.config.data)
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        found = "say which data set with --source" if name is None else f"no data set {name!r}"
        raise UsageError(f"{found}{suggest(name or '', names, noun='defined')}")
    return name


def open_row(loaded: Loaded, name: str, row: int, folder: Path | None = None) -> tuple[Split, list[int]]:
    """Return a whole data set, and what seeds the noise of one of its rows.

    Relative paths start at `folder`, or where the YAML is.
    """
    import numpy as np

    from polyjanus.core.data.opening import open_source
    from polyjanus.core.data.rows import Split

    config = loaded.config
    source = open_source(name, config.data[name], folder or Path(loaded.document.file).absolute().parent)
    if row >= len(source):
        raise UsageError(f"{name!r} has {len(source)} rows; the last is --row {len(source) - 1}")
    return Split(name, source, np.arange(len(source))), [config.training.seed if config.training else 0, row]


def _shown(loaded: Loaded, compiler: Compiler, name: str, row: int) -> dict[str, Any]:
    """Return what one row becomes, as plain data."""
    import numpy as np

    from polyjanus.core.data.showing import plain, runs_of
    from polyjanus.core.data.trial import row_compiler

    every, seed = open_row(loaded, name, row)
    rows = row_compiler(loaded.config, compiler)
    messages = every.row(row, np.random.default_rng(seed))["messages"]
    whole = rows.whole(every, row, np.random.default_rng(seed))
    try:
        cut, reason = rows.cut(whole, every.place(row)), None
    except PolyjanusError as error:
        cut, reason = whole, error.message
    return {
        "source": name,
        "row": row,
        "place": every.source.place(row),
        "messages": plain(messages),
        "positions": len(whole),
        "max_tokens": rows.max_tokens,
        "runs": runs_of(cut, compiler),
        "dropped": cut.dropped,
        "bad": reason,
    }


def _print_row(shown: dict[str, Any]) -> None:
    from polyjanus.core.data.showing import lines_of

    echo(f"{shown['source']}, row {shown['row']}: {shown['place']}")
    for line in lines_of(shown["messages"]):
        echo(f"  {line}")
    echo(f"{shown['positions']} positions; * is learned")
    for run in shown["runs"]:
        last = run["end"] - 1
        place = str(last) if last == run["start"] else f"{run['start']}–{last}"
        mark = "*" if run["learned"] else " "
        what = f"[{run['modality']}.{run['pathway']}]" if run["kind"] == "item" else run["text"]
        echo(f"{place:>12} {mark} {what if run['kind'] != 'text' else repr(what)}")
    echo(f"dropped: {', '.join(shown['dropped']) or 'nothing'}")
    if shown["bad"]:
        echo(f"bad: {shown['bad']}")
