"""`polyjanus convert`: a checkpoint from any format that is known into any other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import click

from polyjanus.core.cli.common import Session, echo, log
from polyjanus.core.errors import UsageError, suggest

if TYPE_CHECKING:
    from polyjanus.core.checkpoints.formats import CheckpointFormat
    from polyjanus.core.pipeline import Pipeline


@click.command(name="convert")
@click.argument("source")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--to", "form", required=True, metavar="FORMAT", help="polyjanus, or a format that a plugin offers.")
@click.option(
    "--dtype",
    default="stored",
    show_default=True,
    type=click.Choice(["stored", "float32", "bfloat16", "float16"]),
    help="How floating tensors are written.",
)
@click.pass_obj
def command(session: Session, source: str, target: Path, form: str, dtype: str) -> None:
    """Write the checkpoint SOURCE anew as the folder TARGET, in another format.

    SOURCE is what `run` takes, or a folder or hub id in a foreign format. Tensors keep every bit unless --dtype says
    otherwise.
    """
    from polyjanus.core.checkpoints.formats import open_format
    from polyjanus.core.checkpoints.opening import OURS
    from polyjanus.core.pipeline import Pipeline

    registry = session.registries().formats
    if form != OURS and form not in registry:
        raise UsageError(f"no format {form!r}{suggest(form, [OURS, *registry.names()], noun='formats')}")
    if target.exists():
        raise UsageError(f"{target} is there already", hint="name a folder that is not")
    pipeline = Pipeline.from_pretrained(source, plugins=session.plugins(), device="cpu", dtype=dtype)
    if form == OURS:
        pipeline.save(target)
    else:
        _export(pipeline, open_format(registry.get(form)(type=form)), target)
    log(f"wrote {target} as {form}")
    echo(str(target))


def _export(pipeline: Pipeline, form: CheckpointFormat, target: Path) -> None:
    """Write the folder beside its place and move it there when it is whole."""
    draft = target.absolute().with_name(f".{target.name}.tmp-{uuid4().hex[:8]}")
    draft.mkdir(parents=True)
    try:
        form.write(pipeline.exported(), draft)
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
