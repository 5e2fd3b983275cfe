"""Make what the quintet's world cannot make in passing: `python -m polyjanus.examples.quintet.making`, two minutes.

That is speech, by espeak-ng, which is written to where a pipeline looks for it. With the word `head`, MNE computes the
leadfields of the head anew, which ship with this package.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from polyjanus.examples.quintet import sounds
from polyjanus.examples.quintet.brain import HEAD, leadfields
from polyjanus.examples.quintet.words import ATTRIBUTES
from polyjanus.examples.quintet.world import FILE, Split

Array = np.ndarray[Any, Any]
SPOKEN: dict[Split, int] = {"train": 6000, "judges": 1200, "test": 600}
"""Utterances by split."""


def speech(spoken: dict[Split, int] = SPOKEN) -> dict[str, Array]:
    """Return the arrays of all speech, by split."""
    return {
        f"{split}.{name}": values for split, count in spoken.items() for name, values in _speech(split, count).items()
    }


def _speech(split: Split, count: int) -> dict[str, Array]:
    """Return `samples` (N, T), int16, and `values` (N, 3) of digit, pitch and speed, in cycles."""
    pitches, paces = ATTRIBUTES["audio"]["pitch"], ATTRIBUTES["audio"]["speed"]
    values = np.stack([np.arange(count) // step % size for step, size in ((1, 10), (10, 2), (20, 2))], axis=1)

    def spoken(number: int) -> Array:
        digit, pitch, speed = values[number]
        noise = np.random.default_rng([list(SPOKEN).index(split), number])
        return sounds.speak(int(digit), split, {"pitch": pitches[pitch], "speed": paces[speed]}, noise)

    with ThreadPoolExecutor() as pool:
        return {"samples": np.stack(list(pool.map(spoken, range(count)))), "values": values}


def main() -> None:
    """Write speech, or the head."""
    if sys.argv[1:] == ["head"]:
        _save(Path(__file__).parent / HEAD, leadfields())
        return
    file = FILE.expanduser()
    file.parent.mkdir(parents=True, exist_ok=True)
    _save(file, speech())
    print(f"{file}: {file.stat().st_size / 1e6:.0f} MB")


def _save(file: Path, arrays: dict[str, Any]) -> None:
    np.savez(file, **arrays)


if __name__ == "__main__":
    main()
