"""`polyjanus report`: a run as one HTML page that opens offline."""

from __future__ import annotations

from pathlib import Path

import click

from polyjanus.core.cli.common import Session, echo


@click.command(name="report")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="File; RUN/report.html else.")
@click.pass_obj
def command(session: Session, run: Path, out: Path | None) -> None:
    """Draw the losses of a run per head and stage, and what its samples looked like, as one HTML page.

    RUN is the folder that `polyjanus train` prints; a run that is still going on will do. The path of the page is
    printed.
    """
    from polyjanus.core.reporting import report

    target = out or run / "report.html"
    target.write_text(report(run), encoding="utf-8")
    echo(str(target))
