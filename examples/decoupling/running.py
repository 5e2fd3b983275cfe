"""Running the ablation: seed after seed, what the arms start from before the arms; what was done is not done again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polyjanus.core.cli.arms import check_arms
from polyjanus.core.cli.common import Session
from polyjanus.core.cli.sweep import finished_run
from polyjanus.core.config.schema import selects
from polyjanus.core.model.wiring import check_wiring
from polyjanus.core.reporting import read_lines
from polyjanus.core.training.globs import chosen
from polyjanus.core.training.log import LOG
from polyjanus.examples.decoupling.arms import HOME, PlannedArm, Size, arms_of_sense

Runs = dict[str, list[dict[str, Any]]]
"""By arm, its results in the order of the seeds: `metrics`, and who made them."""


def planned(session: Session, sense: str, into: Path, size: Size) -> list[PlannedArm]:
    """Return what is run for a sense."""
    return arms_of_sense(sense, session.read(HOME / f"{sense}.yaml").config, into / sense, size)


def ablate(session: Session, sense: str, seeds: Sequence[int], into: Path, size: Size, quiet: bool) -> Runs:
    """Train and score every arm of a sense with every seed, and what they start from."""
    arms, found = planned(session, sense, into, size), Runs()
    check_arms(session, arms, seeds, into / sense, None)
    for seed in seeds:
        for arm in arms:
            result = finished_run(session, arm, seed, into / sense, None, "cpu", quiet)
            found.setdefault(arm.name, []).append(result)
    return found


def parameters(session: Session, arm: PlannedArm, seed: int) -> tuple[int, int]:
    """Return how many parameters an arm uses, and how many of these it trains; nothing is built."""
    loaded = session.read(arm.yaml, arm.overrides_of(seed))
    assert loaded.config.training is not None
    parts = check_wiring(loaded, session.registries()).parts.modules
    used = [path for path in parts if not any(selects(glob, path) for glob in arm.plan.unused)]
    trained = chosen(loaded.config.training.stages[0].train, used)
    return _count(parts, used), _count(parts, trained)


def _count(parts: Mapping[str, Any], paths: Sequence[str]) -> int:
    own = {id(each): each.numel() for path in paths for each in parts[path].parameters()}
    return sum(own.values())


def minutes(home: Path) -> float:
    """Return how long all steps of all runs in a folder took together."""
    logs = [read_lines(log) for log in home.rglob(LOG)]
    return sum(line.get("seconds", 0.0) for lines in logs for line in lines) / 60


def by_metric(runs: Runs) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Yield every metric with the values of the arms that have it."""
    names = dict.fromkeys(name for results in runs.values() for result in results for name in result["metrics"])
    for name in names:
        yield (
            name,
            {
                arm: [result["metrics"][name] for result in results]
                for arm, results in runs.items()
                if all(name in result["metrics"] for result in results)
            },
        )
