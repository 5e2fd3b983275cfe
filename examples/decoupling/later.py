"""Does a sense that is added later hurt the one before? EEG is added to arm D on pictures, and only its parts trained.

Beside it: either sense alone, which are the arms D; and both trained together from the start, as many rows of each
task in every step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from polyjanus.core.cli.common import Session
from polyjanus.core.cli.sweep import finished_run
from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.sweeping import Arm, shown
from polyjanus.examples.decoupling.arms import CODEC, HOME, TEACHER, Size, plain
from polyjanus.examples.decoupling.running import Runs, planned

BEFORE, ADDED = "image", "eeg"
LATER, TOGETHER = "later", "together"
NEEDED = (CODEC, TEACHER, "D")
"""The runs of either sense that are started from, and compared with."""
SCORES = ("read", "write")
OWN = ("understand", "generate.embedding", "generate.adaptor", "generate.head")
SHOWN = ("read", "write.guided", f"read_{ADDED}", f"write_{ADDED}.guided")
HEADS = ("pictures read", "pictures written", "EEG read", "EEG written")
TITLES: Mapping[str, str] = {
    BEFORE: "pictures alone (arm D)",
    ADDED: "EEG alone (arm D)",
    LATER: "EEG added to pictures, only its parts trained",
    TOGETHER: "both trained together from the start",
}


@dataclass(frozen=True)
class LaterArm(Arm):
    """A pipeline of both senses, whose parts start from runs of the same seed."""

    starts: Mapping[str, str]
    """By component, the run's folder below `home`, without its seed."""
    home: Path

    def overrides_of(self, seed: int) -> list[str]:
        """Return the settings of its run with a seed."""
        sources = {part: str((self.home / run / f"seed-{seed}").resolve()) for part, run in self.starts.items()}
        return [*super().overrides_of(seed), f"training.init_from={json.dumps(sources)}"]


def planned_later(before: PipelineConfig, added: PipelineConfig, home: Path, size: Size) -> list[LaterArm]:
    """Return the two pipelines of both senses; the runs of either alone lie in `home`."""
    yaml, fixed = HOME / f"{BEFORE}.yaml", _both(before, added, size)
    own = [f"{ADDED}.{part}" for part in OWN]
    given = {f"{ADDED}.generate.codec": f"{ADDED}/{CODEC}", f"{ADDED}.understand.encoder": f"{ADDED}/{TEACHER}"}
    first = {part: f"{BEFORE}/D" for part in ("backbone", "text", "marks", BEFORE)}
    parts = {f"{BEFORE}.generate.codec": f"{BEFORE}/{CODEC}", f"{BEFORE}.understand.encoder": f"{BEFORE}/{TEACHER}"}
    late = _stage(before, size, rows=[f"{name}_{ADDED}" for name in SCORES], train=own)
    rows = [*SCORES, *(f"{name}_{ADDED}" for name in SCORES)]
    return [
        LaterArm(LATER, yaml, (*fixed, late), {**first, **given}, home),
        LaterArm(TOGETHER, yaml, (*fixed, _stage(before, size, rows=rows)), {**parts, **given}, home),
    ]


def _both(before: PipelineConfig, added: PipelineConfig, size: Size) -> tuple[str, ...]:
    """Return what makes the pipeline of one sense one of both."""
    asked = {name: plain(before.evaluation[name], count=size.questions) for name in SCORES}
    asked |= {f"{name}_{ADDED}": plain(added.evaluation[name], count=size.questions) for name in SCORES}
    rows = [f"data.{name}_{ADDED}={json.dumps(plain(added.data[name]))}" for name in SCORES]
    block = json.dumps(plain(added.modalities[ADDED]))
    return (f"modalities.{ADDED}={block}", *rows, f"evaluation={json.dumps(asked)}")


def _stage(config: PipelineConfig, size: Size, *, rows: Sequence[str], train: Sequence[str] = ()) -> str:
    """Return the stage of an arm with other rows, of each as many in a step; and what of it is trained."""
    assert config.training is not None
    arm = config.training.stages[-1]
    every = [*SCORES, *(f"{name}_{ADDED}" for name in SCORES)]
    changed: dict[str, Any] = {
        "mix": {name: int(name in rows) for name in every},
        "batch": arm.batch * len(rows) // len(arm.mix),
        "steps": max(1, round(arm.steps * size.steps)),
        "train": tuple(train) or arm.train,
    }
    changed["warmup"] = min(arm.warmup, changed["steps"])
    return f"training.stages={json.dumps([plain(arm.model_copy(update=changed))])}"


def add_later(session: Session, seeds: Sequence[int], home: Path, size: Size, quiet: bool) -> Runs:
    """Train and score either sense alone, one added to the other, and both together."""
    before, added = (session.read(HOME / f"{sense}.yaml").config for sense in (BEFORE, ADDED))
    found = Runs()
    for seed in seeds:
        for sense in (BEFORE, ADDED):
            for arm in planned(session, sense, home, size):
                if arm.name in NEEDED:
                    result = finished_run(session, arm, seed, home / sense, None, "cpu", quiet)
                    if arm.name == "D":
                        found.setdefault(sense, []).append(_named(result, "" if sense == BEFORE else f"_{ADDED}"))
        for arm in planned_later(before, added, home, size):
            result = finished_run(session, arm, seed, home / "both", None, "cpu", quiet)
            found.setdefault(arm.name, []).append(result)
    return found


def _named(result: dict[str, Any], suffix: str) -> dict[str, Any]:
    """Return a result of one sense with its scores named as in a pipeline of both."""
    metrics: dict[str, float] = result["metrics"]
    renamed = {".".join([name.split(".")[0] + suffix, *name.split(".")[1:]]): metrics[name] for name in metrics}
    return {**result, "metrics": renamed}


def table(runs: Runs) -> list[str]:
    """Return a table in Markdown: a mean and the values of all seeds."""
    lines = [f"| | {' | '.join(HEADS)} | trained |", f"|---|{'---|' * (len(HEADS) + 1)}"]
    for name, results in runs.items():
        cells = [_cell([result["metrics"].get(score) for result in results]) for score in SHOWN]
        lines.append(f"| {TITLES[name]} | {' | '.join(cells)} | {results[0]['trained'] / 1e6:.2f} M |")
    same = all(
        before["metrics"][score] == after["metrics"][score]
        for before, after in zip(runs[BEFORE], runs[LATER], strict=True)
        for score in ("read", "write.guided", "write.unguided")
    )
    told = "every score of pictures is exactly" if same else "scores of pictures are NOT"
    return [*lines, "", f"After EEG was added, {told} what it was before."]


def _cell(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    return f"{shown('', mean(known))} ({', '.join(f'{100 * value:.1f}' for value in known)})"
