"""The arms of a sweep, checked before the first of them is trained; and results that were made before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyjanus.core.cli.common import Session
from polyjanus.core.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from polyjanus.core.sweeping import Arm

RESULT = "result.json"
SHOWN = 8
"""Settings that differ, as many as a message names."""


def check_arms(session: Session, arms: Sequence[Arm], seeds: Sequence[int], home: Path, limit: int | None) -> None:
    """Refuse a sweep of which an arm cannot be trained and scored: settings, wiring, evaluations, older results.

    All that is wrong is said at once.
    """
    faults: dict[str, list[str]] = {}
    for arm in arms:
        for fault in _faults(session, arm, seeds, home, limit):
            faults.setdefault(fault, []).append(arm.name)
    if faults:
        lines = "".join(f"\n  {_whose(names, len(arms))}: {fault}" for fault, names in faults.items())
        raise UsageError(f"nothing was trained; wrong before that:{lines}")


def _whose(names: Sequence[str], count: int) -> str:
    return "all arms" if len(names) == count else "; ".join(names)


def _faults(session: Session, arm: Arm, seeds: Sequence[int], home: Path, limit: int | None) -> Iterator[str]:
    from polyjanus.core.cli.validate import wiring_fault
    from polyjanus.core.metrics import metric_faults
    from polyjanus.core.model.wiring import check_wiring

    try:
        loaded = session.read(arm.yaml, arm.overrides_of(seeds[0]))
    except ConfigError as error:
        yield from map(str, error.faults)
        return
    config = loaded.config
    if config.training is None:
        yield "the pipeline has no 'training' block"
    if not config.evaluation and not any(source.validation for source in config.data.values()):
        yield "there is nothing to compare by; add an 'evaluation' block, or 'validation' to a data set"
    yield from (str(wiring_fault(loaded, fault)) for fault in check_wiring(loaded, session.registries()).faults)
    yield from map(str, metric_faults(config, arm.yaml.absolute().parent))
    for seed in seeds:
        try:
            known_result(home / arm.folder / f"seed-{seed}", settings_of(session, arm, seed), limit)
        except UsageError as error:
            yield str(error)


def settings_of(session: Session, arm: Arm, seed: int) -> str:
    """Return all settings of the run of an arm with a seed, as YAML."""
    from polyjanus.core.config.resolved import resolved

    return resolved(session.read(arm.yaml, arm.overrides_of(seed)))


def digest_of(settings: str, limit: int | None) -> str:
    """Return the digest of settings and limit, by which a result is known again."""
    return sha256(f"{settings}{limit}".encode()).hexdigest()


def known_result(run: Path, settings: str, limit: int | None) -> dict[str, Any] | None:
    """Return the result of a run that was made before; one of other settings is refused, and they are named."""
    if not (run / RESULT).is_file():
        return None
    known = json.loads((run / RESULT).read_text(encoding="utf-8"))
    if known["digest"] == digest_of(settings, limit):
        return known
    hint = "name another folder with --into, or remove it"
    raise UsageError(f"{run} was made with other settings{_named(run, settings, known, limit)}", hint=hint)


def _named(run: Path, settings: str, known: dict[str, Any], limit: int | None) -> str:
    from polyjanus.core.training.resuming import PIPELINE
    from polyjanus.core.training.state import differences

    told: list[str] = []
    if (run / PIPELINE).is_file():
        before = _plain((run / PIPELINE).read_text(encoding="utf-8"))
        told = [f"{path} was {old!r}, now {new!r}" for path, old, new in differences(before, _plain(settings))]
    if "limit" in known and known["limit"] != limit:
        told.append(f"--limit was {known['limit']}, now {limit}")
    more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    return f": {'; '.join(told[:SHOWN])}{more}" if told else ""


def _plain(text: str) -> Any:
    """Return YAML as plain data; what came from the environment stays a name."""
    from polyjanus.core.config.document import flatten
    from polyjanus.core.config.nodes import read_nodes

    root, _ = read_nodes(text, "")
    return flatten(root)[0] if root else {}
