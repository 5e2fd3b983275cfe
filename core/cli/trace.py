"""`polyjanus trace`: one row followed through every step, in the terminal and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from polyjanus.core.cli.common import Session, echo, echo_json, log, only_overrides
from polyjanus.core.cli.data import named, open_row

if TYPE_CHECKING:
    from polyjanus.core.config.schema import PipelineConfig
    from polyjanus.core.pipeline import Pipeline
    from polyjanus.core.tracing import Trace


@click.command(name="trace")
@click.argument("yaml", type=click.Path(exists=True, path_type=Path), metavar="YAML|RUN")
@click.argument("overrides", nargs=-1)
@click.option("--source", "name", metavar="NAME", help="The data set; may be left out where there is one.")
@click.option("--row", type=click.IntRange(0), default=0, show_default=True, help="Its number, from 0.")
@click.option("--html", "target", type=click.Path(path_type=Path), help="Also write a page with previews.")
@click.option("--json", "as_json", is_flag=True, help="Print the trace as JSON.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@click.pass_obj
def command(
    session: Session,
    yaml: Path,
    overrides: tuple[str, ...],
    name: str | None,
    row: int,
    target: Path | None,
    as_json: bool,
    device: str,
) -> None:
    """Follow one row from its files to its loss and the gradients: shapes, norms, sizes and times at every step.

    The weights are the newest of the run, or of the newest run of the YAML; fresh ones where there is none.
    """
    import numpy as np

    from polyjanus.core.tracing import page, trace

    run, file, folder = place_of(yaml)
    loaded = session.read(file, only_overrides(overrides), is_saved=yaml.is_dir())
    split, seed = open_row(loaded, named(loaded, name), row, folder)
    messages = split.row(row, np.random.default_rng(seed))["messages"]
    pipeline = _open(session, loaded.config, run, folder, device)
    found = trace(pipeline, messages, split.place(row))
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page(found), encoding="utf-8")
        log(f"wrote {target}")
    if as_json:
        echo_json(found.as_json())
    else:
        _print(found)


def place_of(yaml: Path) -> tuple[Path | None, Path, Path]:
    """Return the run whose weights are meant, the file with the settings, and where relative paths in it start."""
    from polyjanus.core.checkpoints.finding import newest_run
    from polyjanus.core.training.resuming import PIPELINE, home_of

    if yaml.is_dir():
        return yaml, yaml / PIPELINE, home_of(yaml)
    return newest_run(yaml), yaml, yaml.absolute().parent


def _open(session: Session, config: PipelineConfig, run: Path | None, folder: Path, device: str) -> Pipeline:
    """Return the pipeline with the newest weights of a run, if it has some."""
    from polyjanus.core.checkpoints.components import load_components
    from polyjanus.core.checkpoints.finding import CHECKPOINTS, newest
    from polyjanus.core.pipeline import Pipeline

    pipeline = Pipeline.from_config(config, folder, plugins=session.plugins(), device=device)
    checkpoint = newest(run / CHECKPOINTS) if run else None
    if checkpoint is None:
        log("untrained: fresh weights")
    else:
        log(f"weights of {checkpoint}")
        load_components(pipeline.model, checkpoint)
    return pipeline


def _print(found: Trace) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=150)
    table = Table("part", "call", "gives", "RMS", "kB", "ms", box=None, pad_edge=False)
    for step in found.steps:
        rms = "" if step.rms is None else f"{step.rms:.3g}"
        table.add_row(step.path, step.call, step.result, rms, f"{step.bytes / 1e3:,.1f}", f"{step.seconds * 1e3:.2f}")
    echo(f"the way of {found.place}")
    console.print(table)
    echo("loss per head: " + ", ".join(f"{name} {loss:.4f}" for name, loss in found.losses.items()))
    norms = (f"{path} {'none' if norm is None else f'{norm:.3g}'}" for path, norm in found.gradients.items())
    echo("norm of the gradient: " + ", ".join(norms))
