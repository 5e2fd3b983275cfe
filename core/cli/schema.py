"""`polyjanus schema`: the JSON Schema that editors use to complete and check pipeline files."""

from __future__ import annotations

import json
from pathlib import Path

import click

from polyjanus.core.cli.common import Session, echo, log


@click.command(name="schema")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write it to this file.")
@click.pass_obj
def command(session: Session, output: str | None) -> None:
    """Write the JSON Schema of pipeline files, installed plugins included."""
    from polyjanus.core.config.json_schema import json_schema

    text = json.dumps(json_schema(session.registries()), indent=2, ensure_ascii=False)
    if output is None:
        echo(text)
        return
    Path(output).write_text(f"{text}\n", encoding="utf-8")
    log(f"wrote {output}; name it in the first line of a pipeline: # yaml-language-server: $schema={output}")
