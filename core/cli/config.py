"""`polyjanus config`: a pipeline with its parents, overrides and defaults in one piece."""

from __future__ import annotations

import click

from polyjanus.core.cli.common import Session, echo


@click.command(name="config")
@click.argument("file")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--resolved", "is_resolved", is_flag=True, help="Fill in every default.")
@click.pass_obj
def command(session: Session, file: str, overrides: tuple[str, ...], is_resolved: bool) -> None:
    """Show a pipeline in full, and where each value comes from."""
    from polyjanus.core.config.resolved import resolved, written

    loaded = session.read(file, overrides)
    echo((resolved(loaded) if is_resolved else written(loaded.document)).rstrip("\n"))
