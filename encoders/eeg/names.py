"""Names and places of electrodes: many spellings, one electrode. No library is needed for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
OLDER = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
"""Names of the first 10-20 system, and today's."""
PREFIX = re.compile(r"^(EEG|E)[\s_:.-]+", re.IGNORECASE)
SUFFIX = re.compile(r"[\s_:.-]+(REF|LE|AR|AVG|AVE|CAR|LINKED|A1A2|M1M2|REFERENCE|0|1)$", re.IGNORECASE)


@cache
def known_positions() -> dict[str, tuple[float, float, float]]:
    """Return the place of every known electrode in metres: x right, y front, z up."""
    from ruamel.yaml import YAML

    table = YAML(typ="safe", pure=True).load(Path(__file__).with_name("positions.yaml"))
    return {name: tuple(value / 1000 for value in place) for name, place in table.items()}


@cache
def _spellings() -> dict[str, str]:
    return {name.upper(): name for name in known_positions()} | OLDER


def normalise(name: str) -> str:
    """Return today's name of an electrode: `EEG FP1-REF` is Fp1, T3 is T7; an unknown name is only stripped."""
    bare = SUFFIX.sub("", PREFIX.sub("", name.strip().rstrip(".")))
    return _spellings().get(bare.upper(), bare)


def is_known(name: str) -> bool:
    """Tell whether a normalised name is an electrode of the 10-20 system or its extensions."""
    return name in known_positions()


def positions_of(names: Sequence[str]) -> Array:
    """Return the places (C, 3), float32, in metres; not a number where a name is unknown."""
    known = known_positions()
    return np.array([known.get(name, (np.nan,) * 3) for name in names], dtype=np.float32).reshape(-1, 3)
