"""A step that does not fit into memory: what was learned is saved, and the message says what to try."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from polyjanus.core.config.schema import StageConfig, TrainingConfig
from polyjanus.core.errors import PolyjanusError, TrainingError

SHOWN = 3
"""Rows that a message names, at most."""
_WORDS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


@contextmanager
def fitting(
    where: str,
    model: nn.Module,
    config: TrainingConfig,
    stage: StageConfig,
    rows: Callable[[], Sequence[tuple[int, str]]],
    save: Callable[[], str],
) -> Generator[None]:
    """Turn what is raised for want of memory, before a step moves any weight, into a TrainingError.

    `rows` gives the positions and the place of each row of the step. Gradients are freed, then `save` writes what was
    learned before the step and returns what it did, as the end of a sentence.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        model.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        longest = sorted(rows(), key=lambda row: -row[0])[:SHOWN]
        named = ", ".join(f"{place} ({length} positions)" for length, place in longest)
        raise TrainingError(
            f"{where} ran out of memory; its longest rows: {named}; {_saved(save)}", hint=_hint(config, stage, error)
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that there was no memory left, on whatever device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def _saved(save: Callable[[], str]) -> str:
    """Save, and return what became of it; that it failed must not hide why it was tried."""
    try:
        return save()
    except (PolyjanusError, RuntimeError, MemoryError) as error:
        return f"what was learned since the last checkpoint could not be saved ({str(error).splitlines()[0]})"


def _hint(config: TrainingConfig, stage: StageConfig, error: BaseException) -> str:
    """Return the settings to try, each with its value now, and what the device said."""
    tries: list[str] = []
    if not config.checkpoint_activations:
        tries.append("training.checkpoint_activations=true, which a run that goes on takes too")
    if stage.accumulate < stage.batch:
        passes = min(2 * stage.accumulate, stage.batch)
        tries.append(f"accumulate={passes} in stage {stage.name!r} (now {stage.accumulate})")
    tries.append(f"a lower training.max_tokens (now {config.max_tokens}) or batch (now {stage.batch})")
    start = "; a new run starts from this one with training.init_from"
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return f"try {', or '.join(tries)}{start}; the device said: {said:.200}"
