"""What a run goes on from: its newest checkpoint that is sound, and what had to be passed over to find it."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from polyjanus.core.checkpoints.atomic import set_aside, tidy, write_whole
from polyjanus.core.checkpoints.finding import BEST, CHECKPOINTS, newest_sound
from polyjanus.core.errors import TrainingError
from polyjanus.core.training.holding import held

PIPELINE = "pipeline.yaml"
"""The file of a run with all of its settings."""
ORIGIN = "run.json"
"""The file of a run that says where relative paths in its settings start."""


def again(run: Path, *words: str) -> str:
    """Return the command that goes on with a run."""
    return f"polyjanus train {shlex.join([str(run), '--resume', *words])}"


def note_settings(run: Path, settings: str, yaml: Path) -> None:
    """Write the settings of a run, and where they come from, so that it can be gone on with by its folder alone."""
    write_whole(run / PIPELINE, settings)
    if not (run / ORIGIN).exists():
        origin = {"yaml": os.path.relpath(yaml.absolute(), run.absolute())}  # both may be moved together
        write_whole(run / ORIGIN, json.dumps(origin) + "\n")


def home_of(run: Path) -> Path:
    """Return the folder at which relative paths in the settings of a run start."""
    if not (run / PIPELINE).is_file():
        raise TrainingError(
            f"is no run: there is no {PIPELINE}",
            where=str(run),
            hint="name the folder of a run, such as runs/my/1, or the YAML",
        )
    hint = f"name the YAML: polyjanus train my.yaml --run {shlex.quote(str(run))} --resume"
    try:
        origin = json.loads((run / ORIGIN).read_text(encoding="utf-8"))["yaml"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TrainingError("does not say which YAML it was started with", where=str(run), hint=hint) from error
    home = Path(os.path.normpath(run.absolute() / str(origin))).parent
    if not home.is_dir():
        raise TrainingError(f"was started in {home}, which is not there", where=str(run), hint=hint)
    return home


def paths_start(source: str | Path, checkpoint: Path | None) -> Path:
    """Return where relative paths start for what a person named and the checkpoint that it stands for.

    At the folder of a YAML, of the YAML of a run, or, for a checkpoint that has left its run, where the process is.
    """
    if Path(source).is_file():
        return Path(source).absolute().parent
    run = checkpoint.absolute().parent.parent if checkpoint else Path()
    return home_of(run) if checkpoint and (run / ORIGIN).is_file() else Path()


@dataclass(frozen=True)
class Resumable:
    """A checkpoint whose every byte was compared, and a line about everything newer that is not used."""

    checkpoint: Path
    passed_over: tuple[str, ...]


def find_resumable(run: Path) -> Resumable:
    """Return what a run goes on from, once its folder is in order; a TrainingError tells why there is nothing.

    What a killed process had not finished is removed; a damaged checkpoint is renamed and kept, so that the run may
    write that step again.
    """
    if not run.is_dir():
        raise TrainingError("there is no such run", where=str(run), hint="start it without --resume")
    home = run / CHECKPOINTS
    with held(run):
        lines = [f"{home / name}: was not written to the end; removed" for name in tidy(home)]
        checkpoint, faults = newest_sound(home)
        if checkpoint is None:
            raise TrainingError(
                "; ".join(["holds no checkpoint to go on from", *(f"{path}: {why}" for path, why in faults.items())]),
                where=str(run),
                hint="start a new run: leave out --resume, and name another folder if you named one with --run",
            )
        for path, why in faults.items():
            is_ours = path.name == BEST or path.name.startswith("step-")
            lines.append(f"{path}: {why}" + (f"; kept as {set_aside(path).name}" if is_ours else ""))
    return Resumable(checkpoint, tuple(lines))
