"""`polyjanus explain`: what an error code means, and what usually helps."""

from __future__ import annotations

import click

from polyjanus.core.cli.common import echo


@click.command(name="explain")
@click.argument("code", required=False)
def command(code: str | None) -> None:
    """Say what an error CODE means, with usual causes and remedies; without one, list the codes."""
    from polyjanus.core.explaining import codes, explain

    if code is None:
        for name, part in codes().items():
            echo(f"{name:12} {(part.__doc__ or '').splitlines()[0]}")
    else:
        echo(explain(code).rstrip())
