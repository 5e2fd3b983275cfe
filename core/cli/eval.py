"""`polyjanus eval`: the evaluations of a pipeline's YAML, each by a judge that is named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from polyjanus.core.cli.common import Session, echo, echo_json, log, note_source, only_overrides
from polyjanus.core.errors import UsageError

if TYPE_CHECKING:
    from polyjanus.core.evaluation import Score
    from polyjanus.core.pipeline import Pipeline


@click.command(name="eval")
@click.argument("pipeline")
@click.argument("overrides", nargs=-1)
@click.option("--only", multiple=True, metavar="NAME", help="Only this evaluation of the YAML; may be repeated.")
@click.option("--limit", type=click.IntRange(1), help="Ask that many times at most, per evaluation.")
@click.option("--seed", default=0, show_default=True, type=int, help="Same seed, same answers.")
@click.option("--controls", is_flag=True, help="Ask again with noise, with the inputs of others, and with none.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@click.option("--html", "page_file", type=click.Path(path_type=Path), help="Write a page with samples, too.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print {scores: [{name, input, output, score, low, high, n, judge, controls}]}.",
)
@click.pass_obj
def command(
    session: Session,
    pipeline: str,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    limit: int | None,
    seed: int,
    controls: bool,
    device: str,
    page_file: Path | None,
    as_json: bool,
) -> None:
    """Score a trained model. PIPELINE is what `run` takes; scores come with 95 % intervals.

    OVERRIDES are `key.path=value`, such as text.sampler=greedy. Relative paths of evaluations start at the folder of
    the YAML that was trained; for a checkpoint outside of a run, at the current one.

    With --controls, what reads media is scored again without what they say; a score that is not above every
    control's interval says nothing about the signal, and is marked.
    """
    from polyjanus.core.evaluation import evaluate
    from polyjanus.core.pipeline import Pipeline
    from polyjanus.core.training.resuming import paths_start

    changed = only_overrides(overrides)
    model = Pipeline.from_pretrained(pipeline, overrides=changed, plugins=session.plugins(), device=device)
    note_source(pipeline, model.source)
    if not model.config.evaluation:
        known = ", ".join(session.registries().metrics.names())
        hint = f"add one here, `evaluation.NAME.type=TYPE`, or to its YAML before it is trained; types: {known}"
        raise UsageError(f"{pipeline} has no 'evaluation' block", hint=hint)
    scores: dict[str, Score] = {}
    folder = paths_start(pipeline, model.source)
    try:
        for name, score in evaluate(model, limit=limit, seed=seed, with_controls=controls, folder=folder, only=only):
            log(f"{name}: {score.score:.1%} of {score.n}")
            scores[name] = score
    finally:  # also what was measured before an error
        if scores:
            _show(scores, model, f"Scores of {pipeline}", page_file, as_json)


def _show(scores: dict[str, Score], model: Pipeline, title: str, page_file: Path | None, as_json: bool) -> None:
    from polyjanus.core.scoresheet import listed, page

    if page_file is not None:
        page_file.write_text(page(scores, model.compiler.modalities, title), encoding="utf-8")
        log(f"wrote {page_file}")
    if as_json:
        echo_json({"scores": [{"name": name, **score.as_row()} for name, score in scores.items()]})
    else:
        echo(listed(scores))
