"""`polyjanus inspect`: the parts of a pipeline, their sizes, and the way of the data through them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polyjanus.core.cli.common import Session, echo, echo_json, only_overrides
from polyjanus.core.errors import ConfigError

if TYPE_CHECKING:
    from polyjanus.core.model.wiring import Wiring


@click.command(name="inspect")
@click.argument("yaml", type=click.Path(exists=True, path_type=Path), metavar="YAML|RUN")
@click.argument("overrides", nargs=-1)
@click.option("--mermaid", is_flag=True, help="Print the way of the data as a Mermaid diagram.")
@click.option("--json", "as_json", is_flag=True, help="Print the parts as JSON.")
@click.pass_obj
def command(session: Session, yaml: Path, overrides: tuple[str, ...], mermaid: bool, as_json: bool) -> None:
    """Show the parts of a pipeline: parameters, widths, positions per item, and what each stage trains.

    No weights are loaded and nothing is asked of a network.
    """
    from polyjanus.core.cli.trace import place_of
    from polyjanus.core.cli.validate import wiring_fault
    from polyjanus.core.model.wiring import check_wiring

    changed = only_overrides(overrides)
    _, file, folder = place_of(yaml)
    loaded = session.read(file, changed, is_saved=yaml.is_dir())
    wiring = check_wiring(loaded, session.registries(), folder)
    if wiring.faults:
        raise ConfigError([wiring_fault(loaded, fault) for fault in wiring.faults])
    rows = parts_of(wiring)
    if mermaid:
        echo(diagram(wiring))
    elif as_json:
        stages = [{"name": stage.name, "trained": stage.trained, "bytes": stage.total} for stage in wiring.stages()]
        echo_json({"parts": rows, "stages": stages})
    else:
        _print(wiring, rows)


def parts_of(wiring: Wiring) -> list[dict[str, Any]]:
    """Return a row per component: path, type, parameters, width, and the stages that train it."""
    stages = wiring.stages()
    rows: list[dict[str, Any]] = []
    for path, count in wiring.parameters().items():
        settings = wiring.parts.settings.get(path)
        rows.append(
            {
                "path": path,
                "type": settings.type if settings else "",
                "parameters": count,
                "width": getattr(wiring.parts.modules[path], "width", None),
                "trained": [stage.name for stage in stages if path in stage.trained],
            }
        )
    return rows


def _print(wiring: Wiring, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("part", "type", "parameters", "width", "trained in", box=None, pad_edge=False)
    for row in rows:
        width = "" if row["width"] is None else str(row["width"])
        table.add_row(row["path"], row["type"], f"{row['parameters']:,}", width, ", ".join(row["trained"]) or "–")
    total = sum(row["parameters"] for row in rows)
    table.add_row("total", "", f"{total:,}", "", "")
    Console(highlight=False, width=120).print(table)
    for path, count in wiring.positions().items():
        echo(f"{path}: {count} positions per item")
    echo("memory, estimated:")
    echo(wiring.memory_report())


def diagram(wiring: Wiring) -> str:
    """Return the way of the data as Mermaid."""
    lines = ["flowchart LR", "  text[text] --> tokenizer --> text.embedding --> backbone", "  backbone --> text.head"]
    for name, modality in wiring.pipeline.modalities.items():
        if modality.understand:
            lines.append(
                f"  {name}_in[{name}] --> {name}.understand.encoder --> {name}.understand.adaptor --> backbone"
            )
        if modality.generate:
            lines += [
                f"  backbone --> {name}.generate.head --> {name}.generate.codec --> {name}_out[{name}]",
                f"  {name}.generate.head --> {name}.generate.embedding --> {name}.generate.adaptor --> backbone",
            ]
    return "\n".join(lines)
