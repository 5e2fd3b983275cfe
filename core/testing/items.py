"""Prepared items to try encoders and codecs with, and the sources of random numbers that they must leave alone."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from polyjanus.core.errors import PolyjanusError
from polyjanus.core.modality import Modality
from polyjanus.core.testing.bench import Subject
from polyjanus.core.testing.contract import NotApplicable, expect, place

WIDTH = 32


def items_of(subject: Subject, count: int = 3) -> list[dict[str, Tensor]]:
    """Return the prepared example, and others of its shape: its modality's noise, else its rows in another order."""
    example: Any = subject.component.prepare(subject.modality.example())
    items = [dict(example)]
    for seed in range(1, count):
        noisy = _noise(subject, seed)
        if noisy is not None and all(noisy[name].shape == value.shape for name, value in example.items()):
            items.append(dict(noisy))
        else:
            items.append({name: value.roll(seed, 0) if value.ndim else value for name, value in example.items()})
    return items


def _noise(subject: Subject, seed: int) -> Mapping[str, Tensor] | None:
    """Return prepared noise, or None where the modality has none that can be prepared: another check tells."""
    modality = subject.modality
    try:
        return subject.component.prepare(modality.noise(modality.example(), np.random.default_rng(seed)))
    except Exception:
        return None


def other_item(subject: Subject) -> Mapping[str, Tensor]:
    """Return a prepared item of another shape than the example: of the modality's `examples`, else a cut in seconds."""
    prepare: Any = subject.component.prepare
    whole: Mapping[str, Tensor] = prepare(subject.modality.example())
    for medium in (*subject.modality.examples()[1:], *_cuts(subject.modality)):
        prepared: Mapping[str, Tensor] = prepare(medium)
        if any(prepared[name].shape != whole[name].shape for name in whole):
            return prepared
    raise NotApplicable("its modality has no `examples` of other lengths, and cannot be cut in seconds to such")


def _cuts(modality: Modality[Any, Any]) -> Iterator[Any]:
    """Yield the first second of the example and less, where its modality can be cut."""
    if not modality.suffixes:
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"example{modality.suffixes[0]}"
        modality.save(modality.example(), file)
        for seconds in (1.0, 0.5, 0.2, 0.05):
            with suppress(PolyjanusError):
                yield modality.load(file, None, seconds)


def expect_prepared(subject: Subject) -> None:
    """Hold `prepare` to its contract: named tensors on the CPU, equal each time, and no random number drawn."""
    component, where = subject.component, place(subject.component, "prepare")
    before = _states()
    first: Any = component.prepare(subject.modality.example())
    again: Any = component.prepare(subject.modality.example())
    expect(_states() == before, "no random numbers drawn in `prepare`", "a generator that moved", where)
    expect(isinstance(first, Mapping), "a mapping from names to tensors", type(first).__name__, where)
    for name, value in first.items():
        is_tensor = isinstance(value, Tensor) and value.device.type == "cpu" and not value.requires_grad
        expect(is_tensor, f"{name!r}, a tensor on the CPU without gradient", f"{type(value).__name__}", where)
        is_same = torch.equal(value, again[name])
        expect(is_same, f"{name!r} to be equal each time it is prepared", "other values", where)


def _states() -> tuple[Any, ...]:
    """Return the states of the three generators that anyone might draw from."""
    name, keys, *rest = cast("tuple[Any, ...]", np.random.get_state())  # noqa: NPY002
    return (torch.get_rng_state().numpy().tobytes(), name, keys.tobytes(), *rest, random.getstate())


def largest_difference(mine: Tensor, theirs: Tensor) -> float:
    """Return the largest difference, infinite where shapes differ."""
    if mine.shape != theirs.shape:
        return float("inf")
    return float((mine.double() - theirs.double()).abs().max()) if mine.numel() else 0.0


def is_close(mine: Tensor, theirs: Tensor) -> bool:
    """Tell whether two results are one, but for the order in which sums are made."""
    return mine.shape == theirs.shape and bool(torch.allclose(mine, theirs, atol=1e-5, rtol=1e-5))
