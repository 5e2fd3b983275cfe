"""Damaged files of every modality: a few here, by the thousand with `python tests/fuzz.py`."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fuzz import fuzz, mutated


@pytest.mark.slow
def test_damaged_files_become_media_or_are_refused(modality_type: str, tmp_path: Path) -> None:
    outcome = fuzz(modality_type, 60, 7, tmp_path)
    assert outcome.is_fine, outcome
    assert outcome.media + outcome.refused == 60 and outcome.refused > 5


def test_damage_is_a_function_of_its_seed() -> None:
    def draw(seed: int) -> Any:
        return mutated(b"0123456789" * 50, b"abc" * 50, np.random.default_rng(seed))

    assert draw(1) == draw(1) != draw(2)
