"""`python -m polyjanus.examples.decoupling`: the paper's ablation on your machine, one table at the end."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from polyjanus.core.cli.common import Session, echo
from polyjanus.core.errors import PolyjanusError, UsageError
from polyjanus.examples.decoupling.arms import ARMS, SENSES, Size

QUICK = Size(steps=0.5, questions=150)
"""Of `--quick`."""


@click.command()
@click.option("--senses", default=",".join(SENSES), show_default=True, help="On which it is run.")
@click.option("--seeds", default="0,1,2", show_default=True, help="One run of every arm for each.")
@click.option("--quick", is_flag=True, help="Half of the steps, and of the questions.")
@click.option("--part", type=click.Choice(["arms", "later"]), default="arms", show_default=True, help="What is asked.")
@click.option("--into", type=click.Path(path_type=Path), help="Folder of the runs; runs/decoupling else.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def command(senses: str, seeds: str, quick: bool, part: str, into: Path | None, quiet: bool) -> None:
    """Should reading and writing share an encoder (arms)? Does a sense that is added later hurt others (later)?

    What was done before is not done again: call it once more after an interruption. Table, page and chart go to the
    folder of the runs.
    """
    from polyjanus.core.cli.sweep import numbers_of

    home = into or Path("runs") / ("decoupling-quick" if quick else "decoupling")
    size, numbers, chosen = QUICK if quick else Size(), numbers_of(seeds), senses.split(",")
    if part == "later":
        return _later(numbers, home, size, quiet)
    if unknown := [sense for sense in chosen if sense not in SENSES]:
        raise UsageError(f"no sense {unknown[0]!r} here", hint=f"there are {', '.join(SENSES)}")
    _arms(chosen, numbers, home, size, quiet)


def _arms(senses: list[str], seeds: list[int], home: Path, size: Size, quiet: bool) -> None:
    """Run the ablation, and show what came of it."""
    from polyjanus.examples.decoupling import running, showing

    session, results, lines, clear = Session(), dict[str, Any](), list[str](), list[str]()
    for sense in senses:
        runs = running.ablate(session, sense, seeds, home, size, quiet)
        planned = running.planned(session, sense, home, size)
        sizes = {arm.name: running.parameters(session, arm, seeds[0]) for arm in planned if arm.name in ARMS}
        results[sense] = dict(running.by_metric(runs))
        lines += [f"**{sense}**", "", *showing.table(results[sense], sizes), ""]
        clear += showing.lines_of(sense, results[sense])
    took = sum(running.minutes(home / sense) for sense in senses)
    lines.append(f"Seeds {', '.join(map(str, seeds))}; {size.steps:.0%} of the steps; {took:.0f} minutes of training.")
    (home / "decoupling.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    written = json.dumps({"seeds": seeds, "steps": size.steps, "minutes": took, "results": results}, indent=1)
    (home / "decoupling.json").write_text(written + "\n", encoding="utf-8")
    (home / "decoupling.html").write_text(showing.report(results, lines[-1:]), encoding="utf-8")
    (home / "decoupling.svg").write_text(showing.chart(results), encoding="utf-8")
    for line in (*lines, "", *clear, str(home / "decoupling.html")):
        echo(line)


def _later(seeds: list[int], home: Path, size: Size, quiet: bool) -> None:
    """Add one sense to another, and show what came of it."""
    from polyjanus.examples.decoupling import later

    runs = later.add_later(Session(), seeds, home, size, quiet)
    lines = later.table(runs)
    (home / "later.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (home / "later.json").write_text(json.dumps({"seeds": seeds, "runs": runs}, indent=1) + "\n", encoding="utf-8")
    for line in lines:
        echo(line)


def main() -> None:
    """Run the command; a user's fault is one message."""
    try:
        command()
    except PolyjanusError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
