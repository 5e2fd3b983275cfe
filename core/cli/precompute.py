"""`polyjanus precompute`: what frozen codecs and encoders give for the items of data sets, computed once and kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polyjanus.core.cli.common import Session, echo, echo_json, log, only_overrides, progress_bar
from polyjanus.core.cli.data import print_some
from polyjanus.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from polyjanus.core.config.schema import PipelineConfig
    from polyjanus.core.data.rows import Source
    from polyjanus.core.keeping.precomputing import Precomputing, SourceRows
    from polyjanus.core.keeping.targets import LeftOut
    from polyjanus.core.training.stopping import Stopping

Opened = list[tuple["SourceRows", "Source | None"]]


@click.command(name="precompute")
@click.argument("yaml", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--features", is_flag=True, help="Keep the features of frozen encoders too, not codes alone.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N rows of each data set.")
@click.option("--batch", type=click.IntRange(1), default=16, show_default=True, help="Items computed together.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_obj
def command(session: Session, yaml: Path, overrides: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Run every row once and keep what frozen codecs give for its items; train and run then find it by themselves.

    Results go to .polyjanus/kept beside the YAML, or to training.kept. Stop it at any time: what was computed is kept,
    and the same command goes on. Exits with 2 where data check would.
    """
    from polyjanus.core.keeping.keeper import home_of
    from polyjanus.core.keeping.precomputing import Precomputing
    from polyjanus.core.keeping.targets import plan
    from polyjanus.core.pipeline import Pipeline
    from polyjanus.core.training.stopping import Stopping

    started, folder = time.monotonic(), yaml.absolute().parent
    config = session.read(yaml, only_overrides(overrides)).config
    if not config.data:
        raise UsageError(f"{yaml} has no 'data' block")
    opened = _open_sources(config, folder)
    pipeline = Pipeline.from_config(config, folder, plugins=session.plugins(), device=options["device"])
    home = home_of(config, folder)
    targets, left_out = plan(pipeline, home, log, with_features=options["features"])
    if not targets:
        raise _nothing_to_keep(left_out, options["features"])
    _make_home(home)
    work = Precomputing(pipeline, targets, options["batch"])
    with Stopping() as stopping:
        _run(work, opened, options, stopping)
        found = {
            "store": str(home),
            "complete": not stopping.is_asked,
            "seconds": round(time.monotonic() - started, 3),
            "sources": [report.as_json() for report, _ in opened],
            "components": [target.as_json() for target in targets],
            "left_out": [vars(each) for each in left_out],
        }
        if as_json:
            echo_json(found)
        else:
            _print(found)
        if stopping.is_asked:
            log("stopped, and what was computed is kept; the same command goes on")
            stopping.leave()
    odd = [report.name for report, _ in opened if not report.is_usable]
    if odd:
        log(f"not usable: {', '.join(odd)}")
    return 2 if odd else 0


def _open_sources(config: PipelineConfig, folder: Path) -> Opened:
    """Return a report for each data set, and its rows where it can be opened."""
    from polyjanus.core.data.opening import open_source
    from polyjanus.core.data.trial import bad_rows_config
    from polyjanus.core.keeping.precomputing import SourceRows

    found: Opened = []
    for name, settings in config.data.items():
        report = SourceRows(name, settings.type)
        try:
            source = open_source(name, settings, folder)
        except DataError as error:
            report.error = str(error)
            found.append((report, None))
            continue
        report.rows, report.allowed = len(source), bad_rows_config(config).allowed(len(source))
        found.append((report, source))
    return found


def _run(work: Precomputing, opened: Opened, options: dict[str, Any], stopping: Stopping) -> None:
    """Run the rows of all data sets until the end, or until a signal comes; what was computed is kept in any case."""
    limit: int | None = options["limit"]
    try:
        for report, source in opened:
            if source is None:
                continue
            with progress_bar(report.name, min(len(source), limit or len(source)), is_quiet=options["quiet"]) as tick:
                for _ in work.run(report, source, limit):
                    tick()
                    if stopping.is_asked:
                        break
            if stopping.is_asked:
                break
        work.compute()
    finally:
        work.write()


def _nothing_to_keep(left_out: Sequence[LeftOut], with_features: bool) -> UsageError:
    """Return why no component of a pipeline can be run ahead, as where a fresh YAML trains them all."""
    if not left_out:
        hint = "what it understands is kept with --features" if not with_features else "it has no codec and no encoder"
        return UsageError("nothing to keep: the pipeline generates no medium", hint=hint)
    reasons = "; ".join(f"{each.path}: {each.reason}" for each in left_out)
    return UsageError(f"nothing to keep: {reasons}", hint=left_out[0].hint)


def _make_home(home: Path) -> None:
    """Make the folder of results, which version control leaves alone."""
    home.mkdir(parents=True, exist_ok=True)
    ignore = home / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")


def _print(found: dict[str, Any]) -> None:
    for source in found["sources"]:
        if source["error"]:
            echo(f"{source['name']} ({source['type']}): {source['error']}")
            continue
        read = f", {source['read']} read" if source["read"] < source["rows"] else ""
        echo(f"{source['name']} ({source['type']}): {source['rows']} rows{read}")
        if source["unstable"]:
            echo(f"  rows whose items are others each time, so that nothing is kept for them: {source['unstable']}")
        lines = [f"{bad['place']}: {bad['reason']}" for bad in source["bad"]]
        print_some(f"bad rows ({source['allowed']} allowed)", lines)
    for each in found["components"]:
        echo(f"{each['path']}: {each['items']} items, {each['hits']} kept before, {each['computed']} computed")
        if each["unstable"]:
            echo(f"  others each time: {each['unstable']}")
        if each["damaged"]:
            echo(f"  damaged, computed anew: {each['damaged']}")
        echo(f"  {each['bytes'] / 1e3:,.1f} kB in {each['folder']}")
    for each in found["left_out"]:
        echo(f"{each['path']}: left out, because {each['reason']}; {each['hint']}")
    echo(f"{found['store']}: {found['seconds']:.1f} s")
