"""`polyjanus samples`: held-out media of a pipeline as files, to try it on."""

from __future__ import annotations

from pathlib import Path

import click

from polyjanus.core.cli.common import Session, echo
from polyjanus.core.cli.writing import was_saved
from polyjanus.core.errors import UsageError


@click.command(name="samples")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--model", help="A pipeline whose YAML has an evaluation with media to show; the shipped one else.")
@click.option("--seed", default=0, show_default=True, type=int, help="Another seed, other media.")
@click.pass_obj
def command(session: Session, folder: Path, model: str | None, seed: int) -> None:
    """Write one held-out file of each modality that a pipeline reads, and say what each is."""
    from polyjanus.core.checkpoints.finding import DEFAULT
    from polyjanus.core.metrics import build_metrics
    from polyjanus.core.pipeline import Pipeline
    from polyjanus.core.training.resuming import paths_start

    model = model or DEFAULT
    pipeline = Pipeline.from_pretrained(model, plugins=session.plugins())
    metrics = build_metrics(pipeline.config, paths_start(model, pipeline.source))
    shown = {each.modality: each for metric in metrics.values() for each in metric.examples(seed)}
    if not shown:
        raise UsageError(f"the evaluations of {model} have no media to show", hint="name another --model")
    folder.mkdir(parents=True, exist_ok=True)
    tried: list[str] = []
    for name, sample in shown.items():
        modality = pipeline.compiler.modalities[name]
        path = folder / f"{name}{modality.suffixes[0]}"
        if was_saved(modality, sample.media, path):
            echo(f"{path}  ({sample.caption})")
            tried.append(f"polyjanus run {model} --{name} {path}")
    echo("\nNext:")
    for line in tried:
        echo(f"  {line}")
