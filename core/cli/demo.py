"""`polyjanus demo`: a shipped model at work, in a minute: what it reads, what it writes, and how well."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from polyjanus.core.cli.common import Session, echo, log
from polyjanus.core.cli.writing import was_saved
from polyjanus.core.errors import UsageError

if TYPE_CHECKING:
    from polyjanus.core.evaluation import Score
    from polyjanus.core.pipeline import Pipeline

PICTURE = "demo.png"


@click.command(name="demo")
@click.option(
    "-o", "--out", default="demo", show_default=True, type=click.Path(path_type=Path), help="Folder of what is made."
)
@click.option("--model", help="Any trained pipeline; the shipped one else.")
@click.option("--only", multiple=True, metavar="NAME", help="Evaluation of its YAML; the first else. May be repeated.")
@click.option("--limit", default=40, show_default=True, type=click.IntRange(10), help="Questions per score.")
@click.option("--seed", default=0, show_default=True, type=int, help="Same seed, same demo.")
@click.pass_obj
def command(session: Session, out: Path, model: str | None, only: tuple[str, ...], limit: int, seed: int) -> None:
    """Show a small trained model at work: scores, a picture, and files of what it made; nothing is downloaded."""
    from polyjanus.core.checkpoints.finding import DEFAULT
    from polyjanus.core.evaluation import evaluate
    from polyjanus.core.pipeline import Pipeline
    from polyjanus.core.scoresheet import listed
    from polyjanus.core.showcase import picture
    from polyjanus.core.training.resuming import paths_start

    model = model or DEFAULT
    pipeline = Pipeline.from_pretrained(model, plugins=session.plugins())
    names = only or tuple(pipeline.config.evaluation)[:1]
    if not names:
        raise UsageError(f"{model} has no 'evaluation' block", hint="name another --model")
    if out.is_file():
        raise UsageError(f"{out} is a file", hint="-o takes a folder")
    folder = paths_start(model, pipeline.source)
    found: dict[str, Score] = {}
    for name, score in evaluate(pipeline, limit=limit, seed=seed, folder=folder, only=names):
        log(f"{score.input} to {score.output}: {score.n} asked")
        found[name] = score
    out.mkdir(parents=True, exist_ok=True)
    picture(found, pipeline.compiler.modalities).save(out / PICTURE)
    files = _write(found, pipeline, out)
    echo(listed(found))
    echo(f"\n{out / PICTURE} shows what was asked of it and what came of it" + (", and there are" if files else ""))
    for file in files:
        echo(f"  {file}")
    echo("\nNext:")
    tried = [f"polyjanus run {model} {words}" for score in found.values() for words in score.commands]
    for line in (*tried, f"polyjanus chat {model}", f"polyjanus eval {model}"):
        echo(f"  {line}")


def _write(scores: Mapping[str, Score], pipeline: Pipeline, folder: Path) -> list[Path]:
    """Write the first sample that was made of each input, and return the files."""
    written: list[Path] = []
    for score in scores.values():
        if score.output not in pipeline.compiler.modalities or not score.samples:
            continue
        modality, sample = pipeline.compiler.modalities[score.output], score.samples[0]
        path = folder / f"{score.input}_to_{score.output}{modality.suffixes[0]}".replace(" ", "_")
        if was_saved(modality, sample.media, path):
            written.append(path)
    return written
