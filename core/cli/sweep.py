"""`polyjanus sweep`: pipelines trained and scored with the same seeds, and what is clear about their differences."""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polyjanus.core.cli.arms import RESULT, check_arms, digest_of, known_result, settings_of
from polyjanus.core.cli.common import Session, echo, echo_json, log, split_overrides
from polyjanus.core.errors import PolyjanusError, UsageError

if TYPE_CHECKING:
    from polyjanus.core.sweeping import Arm, Results

FAILED = 1
"""Status where an arm failed."""


@click.command(name="sweep")
@click.argument("arguments", nargs=-1, required=True, metavar="FILE... [KEY=VALUE[,VALUE...]]...")
@click.option("--seeds", default="0,1,2", show_default=True, help="One run of every arm for each.")
@click.option("--into", type=click.Path(path_type=Path), help="Folder of the runs; runs/sweeps/<names> else.")
@click.option("--limit", type=click.IntRange(1), help="Ask that many times at most, per evaluation.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.option("--json", "as_json", is_flag=True, help="Print {folder, seeds, arms, results} as JSON.")
@click.pass_obj
def command(
    session: Session,
    arguments: tuple[str, ...],
    seeds: str,
    into: Path | None,
    limit: int | None,
    device: str,
    quiet: bool,
    as_json: bool,
) -> int:
    """Train and score pipelines that differ in their file or in a setting, with the same seeds.

    `image.understand.encoder=siglip,codec_features` is two arms; what stands between commas is a value, as in YAML.
    Differences to the first arm are paired by seed, with 95 % intervals. What was done before is not done again: call
    it once more after an interruption. The folder, with a table and a plot in sweep.html, is printed at the end.
    All arms are checked before the first is trained; one that fails later is named, the others go on, and the status
    is 1.
    """
    from polyjanus.core.sweeping import arms_of, lines_of, page

    files, settings = split_overrides(arguments)
    numbers = numbers_of(seeds)
    arms = arms_of([Path(file) for file in files], settings)
    home = into or Path("runs") / "sweeps" / "-".join(dict.fromkeys(Path(file).stem for file in files))
    check_arms(session, arms, numbers, home, limit)
    found, failed = dict[str, list[dict[str, Any]]](), dict[str, str]()
    for arm in arms:
        try:
            found[arm.name] = [finished_run(session, arm, seed, home, limit, device, quiet) for seed in numbers]
        except Exception as error:
            if session.is_debug:
                traceback.print_exc()
            said = str(error) if isinstance(error, PolyjanusError) else f"{type(error).__name__}: {error}"
            failed[arm.name] = said
            log(f"{arm.name} failed: {said}")
    results = by_metric(found)
    notes = [_sizes(name, runs[0]) for name, runs in found.items()]
    notes += [f"{name} failed: {said.splitlines()[0]}" for name, said in failed.items()]
    if found:
        (home / "sweep.html").write_text(page(f"{', '.join(files)}: seeds {seeds}", results, notes), encoding="utf-8")
    if as_json:
        echo_json({"folder": str(home), "seeds": numbers, "arms": notes, "results": results, "failed": failed})
    else:
        for line in (*notes, *lines_of(results), *([str(home / "sweep.html")] if found else [])):
            echo(line)
    return FAILED if failed else 0


def numbers_of(seeds: str) -> list[int]:
    """Return the seeds that a person wrote, such as `0,1,2`."""
    try:
        return [int(seed) for seed in seeds.split(",")]
    except ValueError as error:
        raise UsageError(f"{seeds!r} are no seeds", hint="write --seeds 0,1,2") from error


def finished_run(
    session: Session, arm: Arm, seed: int, home: Path, limit: int | None, device: str, quiet: bool
) -> dict[str, Any]:
    """Return the result of one run, which is made, gone on with, or read where it was made before."""
    from polyjanus.core.checkpoints.finding import CHECKPOINTS, newest
    from polyjanus.core.cli.train import train

    overrides, run = arm.overrides_of(seed), home / arm.folder / f"seed-{seed}"
    settings = settings_of(session, arm, seed)
    if known := known_result(run, settings, limit):
        return known
    log(f"{arm.name}, seed {seed}: {run}")
    has_begun = newest(run / CHECKPOINTS) is not None
    if run.is_dir() and not has_begun:  # it was stopped before anything was saved
        shutil.rmtree(run)
    try:
        train(session, arm.yaml, overrides, resume=has_begun, folder=run, device=device, quiet=quiet)
    except (KeyboardInterrupt, SystemExit):
        log("the sweep was stopped; the same command goes on with it")
        raise
    scored = _scored(session, run, arm.yaml.absolute().parent, limit, seed, device)
    result = {"digest": digest_of(settings, limit), "limit": limit, "arm": arm.name, "seed": seed, **scored}
    (run / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def _scored(session: Session, run: Path, folder: Path, limit: int | None, seed: int, device: str) -> dict[str, Any]:
    """Return the scores and the last held-out losses of a finished run, and how large it is."""
    from polyjanus.core.evaluation import evaluate
    from polyjanus.core.pipeline import Pipeline
    from polyjanus.core.reporting import read_lines
    from polyjanus.core.sweeping import HELD_OUT
    from polyjanus.core.training.globs import chosen
    from polyjanus.core.training.log import LOG

    pipeline = Pipeline.from_pretrained(run, plugins=session.plugins(), device=device)
    scores = {name: score.score for name, score in evaluate(pipeline, limit=limit, seed=seed, folder=folder)}
    held_out: list[dict[str, float]] = [line["validation"] for line in read_lines(run / LOG) if "validation" in line]
    losses = {f"{HELD_OUT}{name}": value for name, value in (held_out[-1] if held_out else {}).items()}
    if not scores and not losses:
        raise UsageError(
            f"{run} has nothing to be compared by", hint="add an 'evaluation' block, or 'validation' to a data set"
        )
    training = pipeline.config.training
    globs = {glob for stage in training.stages for glob in stage.train} if training else set[str]()
    trained = set(chosen(sorted(globs), pipeline.config.component_paths()))
    own = {id(p) for path in trained if pipeline.model.has(path) for p in pipeline.model.part(path).parameters()}
    parameters = list(pipeline.model.parameters())
    return {
        "metrics": {**scores, **losses},
        "parameters": sum(p.numel() for p in parameters),
        "trained": sum(p.numel() for p in parameters if id(p) in own),
    }


def _sizes(name: str, run: dict[str, Any]) -> str:
    return f"{name}: {run['parameters']:,} parameters, {run['trained']:,} of them trained"


def by_metric(found: Mapping[str, Sequence[dict[str, Any]]]) -> Results:
    """Return the values by metric and arm; a metric that only some arms have is left out."""
    if not found:
        return {}
    shared = [set(run["metrics"]) for runs in found.values() for run in runs]
    names = [name for name in next(iter(found.values()))[0]["metrics"] if all(name in known for known in shared)]
    return {name: {arm: [run["metrics"][name] for run in runs] for arm, runs in found.items()} for name in names}
