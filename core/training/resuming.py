"""What a run goes on from: its newest checkpoint that is sound, and what had to be passed over to find it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from polyjanus.core.checkpoints.atomic import set_aside, tidy
from polyjanus.core.checkpoints.finding import BEST, CHECKPOINTS, newest_sound
from polyjanus.core.errors import TrainingError
from polyjanus.core.training.holding import held


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
