"""`polyjanus demo`: a shipped model at work, in a minute: what it reads, what it draws, and how well."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polyjanus.core.cli.common import Session, echo, log

if TYPE_CHECKING:
    from polyjanus.core.evaluation import Score
    from polyjanus.core.modality import Modality

CELL = 96
CAPTION = 18
TITLE = 100
"""Pixels of the picture's cells, captions and row titles."""


@click.command(name="demo")
@click.option(
    "-o", "--out", default="demo.png", show_default=True, type=click.Path(path_type=Path), help="The picture."
)
@click.option("--model", help="Any trained pipeline; the first that is shipped else.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(10), help="Questions per evaluation.")
@click.option("--seed", default=0, show_default=True, type=int, help="Same seed, same demo.")
@click.pass_obj
def command(session: Session, out: Path, model: str | None, limit: int, seed: int) -> None:
    """Show a small trained model at work; nothing is downloaded."""
    from polyjanus.core.checkpoints.finding import shipped
    from polyjanus.core.evaluation import evaluate
    from polyjanus.core.pipeline import Pipeline
    from polyjanus.core.scoresheet import listed

    model = model or next(iter(shipped()))
    pipeline = Pipeline.from_pretrained(model, plugins=session.plugins())
    found: dict[str, Score] = {}
    for name, score in evaluate(pipeline, limit=limit, seed=seed):
        log(f"{name}: {score.n} asked")
        found[name] = score
    scores = list(found.values())
    out.parent.mkdir(parents=True, exist_ok=True)
    _picture(scores, pipeline.compiler.modalities).save(out)
    echo(listed(found))
    echo(f"\n{out} shows, row by row, what was asked of it\n\nNext:")
    tried = [f"polyjanus run {model} {words}" for score in scores for words in score.commands]
    for line in (*tried, f"polyjanus chat {model}", f"polyjanus eval {model}"):
        echo(f"  {line}")


def _picture(scores: Sequence[Score], modalities: Mapping[str, Modality[Any, Any]]) -> Any:
    """Return one picture with a row of samples per score, each under its caption."""
    from PIL import Image, ImageDraw

    columns = max((len(score.samples) for score in scores), default=1) or 1
    height = CELL + CAPTION
    sheet = Image.new("RGB", (TITLE + columns * CELL, max(len(scores), 1) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for row, score in enumerate(scores):
        draw.text(
            (6, row * height + CAPTION + CELL // 2), f"{score.input} to {score.output}", fill="black", anchor="lm"
        )
        for column, sample in enumerate(score.samples):
            png = modalities[sample.modality].preview(sample.media)
            cell = Image.open(io.BytesIO(png)).convert("RGB")
            cell = cell.resize((CELL - 8, CELL - 8), Image.Resampling.LANCZOS)
            left = TITLE + column * CELL
            sheet.paste(cell, (left + 4, row * height + CAPTION))
            draw.text((left + CELL // 2, row * height + 3), sample.caption, fill="black", anchor="ma")
    return sheet
