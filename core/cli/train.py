"""`polyjanus train`: a YAML in, a run folder with checkpoints out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import join
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from polyjanus.core.cli.common import Session, echo, log, only_overrides
from polyjanus.core.errors import PolyjanusError, TrainingError, UsageError

if TYPE_CHECKING:
    import torch
    from rich.progress import Progress, TaskID

    from polyjanus.core.config.schema import PipelineConfig, StageConfig
    from polyjanus.core.data.opening import Splits
    from polyjanus.core.pipeline import Pipeline
    from polyjanus.core.training.loop import Training
    from polyjanus.core.training.ranks import Ranks

USAGE = 2
"""Status of a process whose fault another one tells."""


@click.command(name="train")
@click.argument("yaml", type=click.Path(exists=True, path_type=Path), metavar="YAML|RUN")
@click.argument("overrides", nargs=-1)
@click.option("--resume", is_flag=True, help="Go on with this run, or with the newest run of this YAML.")
@click.option("--run", "folder", type=click.Path(path_type=Path), help="Folder of the run; runs/<name>/<n> else.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.pass_obj
def command(session: Session, yaml: Path, overrides: tuple[str, ...], resume: bool, **options: Any) -> None:
    """Train the pipeline of a YAML file, stage after stage.

    OVERRIDES are `key.path=value`. Checkpoints, the log (log.jsonl) and the resolved YAML go to the run's folder, whose
    path is printed at the end. Ctrl-C saves once before it stops; `polyjanus train RUN --resume` goes on with the
    settings of the run, to which OVERRIDES are added.
    """
    if run := train(session, yaml, overrides, resume, **options):
        echo(str(run))


def train(session: Session, yaml: Path, overrides: Sequence[str], resume: bool, **options: Any) -> Path | None:
    """Train in this process, which may be one of several, and return the run's folder to the first of them.

    The options are `folder`, `device` and `quiet` of the command.
    """
    from polyjanus.core.training.ranks import is_lost_peer, joined

    with joined(options["device"]) as (ranks, device):
        given = {**options, "asked": options["device"], "device": device}
        try:
            run = _train(session, yaml, overrides, resume, given, ranks)
        except PolyjanusError as error:
            if ranks.is_told(str(error)):
                raise SystemExit(USAGE) from error
            raise
        except RuntimeError as error:
            if ranks.world == 1 or not is_lost_peer(error):
                raise
            raise TrainingError(f"process {ranks.rank} has lost the others, one of which says why") from error
        return run if ranks.is_first else None


def _train(
    session: Session, yaml: Path, overrides: Sequence[str], resume: bool, options: dict[str, Any], ranks: Ranks
) -> Path:
    """Train, and return the folder of the run."""
    from polyjanus.core.assembling import find_device
    from polyjanus.core.config.resolved import resolved
    from polyjanus.core.training.loop import Training
    from polyjanus.core.training.resuming import note_settings

    named, (yaml, home, options) = yaml, _settings_of(yaml, resume, options)
    loaded = session.read(yaml, only_overrides(overrides), is_saved=named.is_dir())
    folder: Path | None = options["folder"]
    splits, place = _open_data(loaded.config, home, ranks), find_device(options["device"])
    if resume:
        run, checkpoint = _find_resumable(folder, yaml, ranks, place)
    else:
        made = _new_run(folder, yaml) if ranks.is_first else Path()
        run, checkpoint = Path(ranks.tell(str(made), place)), None
    is_sharded = loaded.config.training is not None and loaded.config.training.shard and ranks.world > 1
    pipeline = _build(session, loaded.config, home, checkpoint is None, "cpu" if is_sharded else str(place))
    with _Bar(options["quiet"] or not ranks.is_first) as bar:
        training = Training(pipeline, run, home, bar, splits, ranks, place)
        if checkpoint is not None:
            _resume(training, checkpoint)
        if ranks.is_first and (checkpoint is None or overrides or yaml.parent != run):
            note_settings(run, resolved(loaded), yaml)
        _run(training, _again(session, run, options, ranks))
    return run


def _settings_of(yaml: Path, resume: bool, options: dict[str, Any]) -> tuple[Path, Path, dict[str, Any]]:
    """Return the file with the settings, where its relative paths start, and the options; of a YAML, or of a run."""
    from polyjanus.core.training.resuming import PIPELINE, again, home_of

    if not yaml.is_dir():
        return yaml, yaml.absolute().parent, options
    home = home_of(yaml)
    if not resume:
        raise UsageError(f"{yaml} is a run", hint=f"go on with it: {again(yaml)}")
    if options["folder"] not in (None, yaml):
        raise UsageError(f"two runs are named, {yaml} and {options['folder']}", hint="leave out --run")
    return yaml / PIPELINE, home, {**options, "folder": yaml}


def _run(training: Training, again: str) -> None:
    """Train, and say what is saved and how to go on where something stops it."""
    try:
        training.run()
    except (KeyboardInterrupt, SystemExit):
        if training.ranks.is_first:
            log(_what_is_saved(training.folder, training.progress.total, again))
        raise
    except PolyjanusError as error:
        if training.progress.total:
            said = _what_is_saved(training.folder, training.progress.total, again)
            error.hint = f"{error.hint}\n  {said}" if error.hint else said
        raise
    finally:
        _tell_bad_rows(training)


def _again(session: Session, run: Path, options: dict[str, Any], ranks: Ranks) -> str:
    """Return the command that goes on with a run as it was called now."""
    from polyjanus.core.training.resuming import again

    words = ["--device", options["asked"]] if options["asked"] != "auto" else []
    plugins = join(word for file in session.plugin_files for word in ("--plugin", file))
    command = again(run, *words).replace("polyjanus", f"polyjanus {plugins}".rstrip(), 1)
    if ranks.world > 1:
        return f"torchrun --nproc-per-node {session.environ.get('LOCAL_WORLD_SIZE', ranks.world)} -m {command}"
    return command


def _find_resumable(folder: Path | None, yaml: Path, ranks: Ranks, device: torch.device) -> tuple[Path, Path]:
    """Return the run to go on with and its checkpoint, which the first process looks for."""
    from polyjanus.core.checkpoints.finding import newest_run
    from polyjanus.core.training.resuming import find_resumable

    run = folder or newest_run(yaml)
    if run is None:
        raise TrainingError(f"{yaml} has no run to resume", hint=f"polyjanus train {yaml}")
    checkpoint = ""
    if ranks.is_first:
        found = find_resumable(run)
        for line in found.passed_over:
            log(f"passed over: {line}")
        checkpoint = str(found.checkpoint)
        log(f"resuming {checkpoint}")
    return run, Path(ranks.tell(checkpoint, device))


def _what_is_saved(run: Path, step: int, again: str) -> str:
    """Return what a person who stopped a run should know: whether the last step was saved, and how to go on."""
    from polyjanus.core.checkpoints.finding import CHECKPOINTS, complete

    saved = next((number for number, _ in complete(run / CHECKPOINTS)), None)
    if saved is None:
        return f"stopped after step {step}; nothing had been saved"
    what = "and saved" if saved == step else f"without saving; the last checkpoint is of step {saved}"
    return f"stopped after step {step} {what}; go on with: {again}"


def _open_data(config: PipelineConfig, home: Path, ranks: Ranks) -> Splits:
    """Return the data sets; what is wrong with them, or with evaluations, is said before anything is made."""
    from polyjanus.core.data.opening import open_splits, repeats
    from polyjanus.core.metrics import build_metrics
    from polyjanus.core.picking import is_opaque

    if config.training is None:
        raise TrainingError("the pipeline has no 'training' block")
    splits = open_splits(config, home)
    known = [name for name, settings in config.evaluation.items() if not is_opaque(settings)]
    if ranks.is_first and (unknown := [name for name in config.evaluation if name not in known]):
        log(f"note: left out, of types that no plugin here offers: evaluation {', '.join(unknown)}")
    if known:
        build_metrics(config, home, known)
    for sentence in repeats(config, {name: len(train) for name, (train, _) in splits.items()}):
        if ranks.is_first:
            log(f"note: {sentence}")
    return splits


def _tell_bad_rows(training: Training) -> None:
    quarantine = training.feed.quarantine
    quarantine.gather()
    if training.ranks.is_first and (counts := quarantine.counts()):
        found = ", ".join(f"{count} of {name}" for name, count in counts.items())
        log(f"bad rows: {found}; they are in {quarantine.file}")


def _build(session: Session, config: Any, home: Path, is_new: bool, device: str) -> Pipeline:
    """Return the pipeline of the YAML with fresh weights."""
    from polyjanus.core.pipeline import Pipeline

    pipeline = Pipeline.from_config(config, home, plugins=session.plugins(), device=device)
    for started in pipeline.started if is_new else ():
        log(str(started))
    return pipeline


def _resume(training: Training, checkpoint: Path) -> None:
    """Go on from a checkpoint that was verified; its weights are read once its settings are known to be the same."""
    from polyjanus.core.checkpoints.components import load_components

    training.resume(checkpoint)
    load_components(training.model, checkpoint)
    if training.progress.total == sum(stage.steps for stage in training.config.stages):
        log(f"all {training.progress.total} steps were done; there is nothing left to train")


def _new_run(folder: Path | None, yaml: Path) -> Path:
    """Make the folder of a new run; an existing one is never written into."""
    from polyjanus.core.checkpoints.finding import RUNS
    from polyjanus.core.training.resuming import again

    if folder is not None:
        try:
            folder.mkdir(parents=True)
        except FileExistsError as error:
            raise TrainingError(f"{folder} exists", hint=f"go on with it: {again(folder)}") from error
        except OSError as error:
            raise TrainingError(f"{folder} cannot be made: {error.strerror}", hint="name another with --run") from error
        return folder
    home = RUNS / yaml.stem
    number = 1
    while True:
        try:
            (home / str(number)).mkdir(parents=True)
        except FileExistsError:
            if not (home / str(number)).is_dir():  # something else is in the way
                raise
            number += 1
        else:
            return home / str(number)


TOLD_EVERY = 30.0
"""Seconds between lines where there is no terminal for a bar."""


class _Bar:
    """A progress bar on stderr, or a line now and then where that is no terminal; and a line per validation."""

    def __init__(self, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
        )
        self._progress: Progress = Progress(*columns, console=Console(stderr=True), disable=quiet)
        self._task: TaskID | None = None
        self._is_told = not quiet and not self._progress.console.is_terminal
        self._told = monotonic()

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def stage(self, stage: StageConfig, done: int) -> None:
        """Begin a bar."""
        self._task = self._progress.add_task(stage.name, total=stage.steps, completed=done, losses="")

    def step(self, record: dict[str, Any]) -> None:
        """Move the bar, or print a validation."""
        if "validation" in record:
            losses = ", ".join(f"{name} {value:.3f}" for name, value in record["validation"].items()) or "none"
            best = " (best so far)" if record["is_best"] else ""
            bad = f"; bad rows: {sum(record['bad_rows'].values())}" if record["bad_rows"] else ""
            self._progress.console.print(f"step {record['total']}: held out: {losses}{best}{bad}", highlight=False)
        elif self._task is not None:
            losses = " ".join(f"{k.removesuffix('.loss')} {v:.3f}" for k, v in record.items() if k.endswith(".loss"))
            self._progress.update(self._task, advance=1, losses=losses)
            if self._is_told and monotonic() - self._told >= TOLD_EVERY:
                self._told = monotonic()
                log(f"{record['stage']} {record['step']}: {losses}")
