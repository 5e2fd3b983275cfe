"""Make what the quintet's world cannot make in passing: `python -m polyjanus.examples.quintet.making`, two minutes.

That is speech, by espeak-ng, which is written to where a pipeline looks for it. With the word `held_out` it makes anew
what ships with this package: speech that is tested on, what judges of speech are fitted on, and MNE's leadfields.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from polyjanus.encoders.audio.media import Audio
from polyjanus.examples.quintet import sounds
from polyjanus.examples.quintet.brain import HEAD, leadfields
from polyjanus.examples.quintet.judges import looked_at
from polyjanus.examples.quintet.words import ATTRIBUTES
from polyjanus.examples.quintet.world import FILE, HELD_OUT, Instance, Split

Array = np.ndarray[Any, Any]
SPOKEN: dict[Split, int] = {"train": 6000, "judges": 1200, "test": 160}
"""Utterances by split."""


def held_out() -> dict[str, Array]:
    """Return speech that is tested on, packed, and what judges of speech see of voices of their own."""
    tested = _speech("test", SPOKEN["test"])
    fitted = _speech("judges", SPOKEN["judges"])
    noise = np.random.default_rng(0)
    arrays = {"test.samples": sounds.packed(tested["samples"]), "test.values": tested["values"].astype(np.int8)}
    instances = [
        Instance("audio", int(digit), _attributes(pitch, speed), Audio(sounds.heard(samples, noise)[None], sounds.RATE))
        for samples, (digit, pitch, speed) in zip(fitted["samples"], fitted["values"], strict=True)
    ]
    for question, (vectors, labels) in looked_at("audio", instances).items():
        values = np.asarray(vectors)
        arrays[f"judges.{question}.scale"] = np.abs(values).max() / 127
        arrays[f"judges.{question}"] = np.round(values * 127 / np.abs(values).max()).astype(np.int8)
        arrays[f"judges.{question}.labels"] = labels.astype(np.int8)
    return arrays


def _attributes(pitch: int, speed: int) -> dict[str, str]:
    kinds = ATTRIBUTES["audio"]
    return {"pitch": kinds["pitch"][pitch], "speed": kinds["speed"][speed]}


def _speech(split: Split, count: int) -> dict[str, Array]:
    """Return `samples` (N, T), int16, and `values` (N, 3) of digit, pitch and speed, in cycles."""
    values = np.stack([np.arange(count) // step % size for step, size in ((1, 10), (10, 2), (20, 2))], axis=1)

    def spoken(number: int) -> Array:
        digit, pitch, speed = values[number]
        noise = np.random.default_rng([list(SPOKEN).index(split), number])
        return sounds.speak(int(digit), split, _attributes(pitch, speed), noise)

    with ThreadPoolExecutor() as pool:
        return {"samples": np.stack(list(pool.map(spoken, range(count)))), "values": values}


def main() -> None:
    """Write speech, or what ships."""
    if sys.argv[1:] == ["held_out"]:
        here = Path(__file__).parent
        np.savez_compressed(here / HELD_OUT, **_any(held_out()))
        np.savez(here / HEAD, **_any(leadfields()))
        return
    file = FILE.expanduser()
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **_any({f"train.{name}": values for name, values in _speech("train", SPOKEN["train"]).items()}))
    print(f"{file}: {file.stat().st_size / 1e6:.0f} MB")


def _any(arrays: dict[str, Array]) -> dict[str, Any]:
    return dict(arrays)


if __name__ == "__main__":
    main()
