"""A run that goes on for longer than it was meant to: where that is the run that would have been longer all along."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from polyjanus.core.config.schema import StageConfig
from polyjanus.core.errors import TrainingError
from polyjanus.core.training.stages import learning_rate
from polyjanus.core.training.state import Progress

Entry = Mapping[str, Any]


def lengthened(
    settings: dict[str, Any], now: Mapping[str, Any], progress: Progress, checkpoint: Path
) -> tuple[dict[str, Any], Progress]:
    """Return the settings of a run with the steps that its stages have now, and where it then goes on.

    Stages that are to come may have any number of steps, and more stages may follow them. One that has begun may have
    others where the learning rates so far do not depend on their number; all else is a TrainingError.
    """
    old, new = settings["training"]["stages"], now["training"]["stages"]
    end = len(old) - 1
    place = progress
    if progress.stage > end and [entry["steps"] for entry in new[end : end + 1]] != [old[end]["steps"]]:
        place = replace(progress, stage=end, step=old[end]["steps"])
    faults = list(_faults(old, new, place))
    if faults:
        source = json.dumps(str(checkpoint.absolute()))
        given = ", ".join(f"{part}: {source}" for part in _parts(settings))
        raise TrainingError(
            f"that would be another run: {'; '.join(faults)}",
            where=str(checkpoint),
            hint="start a new run from what this one learned, with stages for what is left to learn:"
            f" 'training.init_from={{{given}}}'",
        )
    kept = [{**was, "steps": entry["steps"]} for was, entry in zip(old, new, strict=False)]
    kept += new[len(old) :] if len(kept) == len(old) else old[len(kept) :]
    return {**settings, "training": {**settings["training"], "stages": kept}}, place


def _faults(old: Sequence[Entry], new: Sequence[Entry], place: Progress) -> Iterator[str]:
    """Yield why stages cannot have the steps that they are given now."""
    for index, (was, entry) in enumerate(zip(old, new, strict=False)):
        name, before, after = was["name"], was["steps"], entry["steps"]
        if before == after or index > place.stage:
            continue
        if index < place.stage:
            yield f"stage {name!r} is over after {before} steps, and {old[index + 1]['name']!r} began from there"
        elif after < place.step:
            yield f"stage {name!r} has done {place.step} steps, and is to have {after}"
        elif not _has_same_rates(was, after, place.step):
            yield (
                f"stage {name!r} has 'schedule: {was['schedule']}', which spreads the learning rate over its {before}"
                f" steps; with {after} its first {place.step} would have had other rates ('constant' has not)"
            )


def _has_same_rates(was: Entry, steps: int, done: int) -> bool:
    stage = StageConfig.model_validate(dict(was))
    longer = stage.model_copy(update={"steps": steps})
    return all(learning_rate(stage, step) == learning_rate(longer, step) for step in range(done))


def _parts(settings: Mapping[str, Any]) -> list[str]:
    """Return what a new run may start from: the text's parts, modalities, and marks where something is generated."""
    modalities: Mapping[str, Any] = settings["modalities"]
    is_generating = any(modality["generate"] for modality in modalities.values())
    return ["backbone", "text", *modalities, *(["marks"] if is_generating else [])]
