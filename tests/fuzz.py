"""Damaged files by the thousand: every one must end in a medium or in a MediaError, soon, and without a crash.

    python tests/fuzz.py [--count 1000] [--modality image,audio] [--seed 0]

Each modality writes its example in every format that it can; the files are then mutated (bits flipped, cut, spliced,
headers overwritten) and loaded in the decoder process, as users' files are. Printed per modality: how many became
media, how many were refused, how often the decoder died or was too slow, the slowest, and the decoder's peak memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from polyjanus.core.decoding.decoder import Decoder, close_workers
from polyjanus.core.errors import MediaError, PolyjanusError
from polyjanus.core.manager import load_plugins
from polyjanus.core.modality import Modality
from polyjanus.core.settings import BuildContext

SECONDS = 5.0
MEMORY = 3 << 30
"""Bytes of memory that the decoder may use at its peak."""
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
SETTINGS = YAML(typ="safe").load(Path(__file__).with_name("components.yaml"))["modality"]


@dataclass
class Outcome:
    """What became of the damaged files of one modality."""

    media: int = 0
    refused: int = 0
    untyped: list[str] = field(default_factory=list[str])
    died: list[str] = field(default_factory=list[str])
    slow: list[str] = field(default_factory=list[str])
    slowest: float = 0.0
    memory: int = 0
    reasons: Counter[str] = field(default_factory=Counter[str])

    @property
    def is_fine(self) -> bool:
        """Tell whether nothing died, hung, swelled, or failed in another way than by refusing."""
        return not (self.untyped or self.died or self.slow) and self.memory < MEMORY


def seeds(modality: Modality[Any, Any], folder: Path) -> dict[str, bytes]:
    """Return the example as a file of every format that the modality writes, by suffix."""
    found: dict[str, bytes] = {}
    for suffix in modality.suffixes:
        path = folder / f"seed{suffix}"
        try:
            modality.save(modality.example(), path)
        except PolyjanusError:
            continue
        found[suffix] = path.read_bytes()
    return found


def mutated(content: bytes, other: bytes, noise: np.random.Generator) -> bytes:
    """Return a file with one to three kinds of damage."""
    data = bytearray(content)
    for _ in range(noise.integers(1, 4)):
        size = max(len(data), 1)
        kind = noise.integers(5)
        if kind == 0:  # bits flip
            for place in noise.integers(0, size, noise.integers(1, 33)):
                data[place : place + 1] = bytes([data[place] ^ (1 << int(noise.integers(8)))]) if data else b""
        elif kind == 1:  # the end is cut off
            del data[int(noise.integers(0, size)) :]
        elif kind == 2:  # a part of another file comes in, or a part goes
            place, length = int(noise.integers(0, size)), int(noise.integers(1, 257))
            start = int(noise.integers(0, max(len(other), 1)))
            data[place : place + int(noise.integers(0, 2)) * length] = other[start : start + length]
        elif kind == 3:  # the header says something else
            place = int(noise.integers(0, min(size, 200)))
            width = int(noise.choice([1, 2, 4, 8]))
            value = int(noise.choice(EXTREMES)) & ((1 << 8 * width) - 1)
            data[place : place + width] = value.to_bytes(width, str(noise.choice(["little", "big"])))
        else:  # digits, of which text headers are made
            digits = [i for i, byte in enumerate(data[:500]) if 48 <= byte <= 57]
            if digits:
                place = int(noise.choice(digits))
                data[place : place + 1] = bytes(noise.choice([b"9", b"99999999", b"-1", b"nan", b""]))
    return bytes(data)


def fuzz(name: str, count: int, seed: int, folder: Path) -> Outcome:
    """Return what became of `count` damaged files of one modality."""
    registries = load_plugins(third_party=False).registries
    block = {"type": name, **SETTINGS[name]}
    settings = registries.of("modality").get(name).model_validate(block, context={"registries": registries})
    modality = settings.build(BuildContext(path=name))
    decoder = Decoder({name: modality})
    decoder.seconds = SECONDS
    originals = seeds(modality, folder)
    outcome = Outcome()
    for suffix, content in originals.items():  # undamaged, they load; that also imports what is needed
        (folder / f"whole{suffix}").write_bytes(content)
        decoder.load(name, folder / f"whole{suffix}")
    for number, path in _files(originals, folder, count, seed):
        _try(decoder, name, path, f"{number}{path.suffix}", outcome)
    outcome.memory = _peak(decoder)
    close_workers()
    return outcome


def _files(originals: dict[str, bytes], folder: Path, count: int, seed: int) -> Iterator[tuple[int, Path]]:
    suffixes = list(originals)
    for number in range(count):
        noise = np.random.default_rng([seed, number])
        suffix, other = suffixes[number % len(suffixes)], str(noise.choice(suffixes))
        path = folder / f"damaged{suffix}"
        path.write_bytes(mutated(originals[suffix], originals[other], noise))
        yield number, path


def _try(decoder: Decoder, name: str, path: Path, label: str, outcome: Outcome) -> None:
    started = time.perf_counter()
    try:
        decoder.load(name, path)
        outcome.media += 1
    except MediaError as error:
        outcome.refused += 1
        outcome.reasons[error.message[:60]] += 1
        if "killed the decoder" in error.message:
            outcome.died.append(label)
        if "could not be decoded:" in error.message:
            outcome.untyped.append(f"{label}: {error.message}")
    except Exception as error:
        outcome.untyped.append(f"{label}: {type(error).__name__}: {error}")
    took = time.perf_counter() - started
    outcome.slowest = max(outcome.slowest, took)
    if took > SECONDS:
        outcome.slow.append(label)


def _peak(decoder: Decoder) -> int:
    """Return the most memory that the decoder process has had, in bytes, where the system tells."""
    worker = decoder._worker()
    status = Path(f"/proc/{worker.process.pid}/status") if worker else Path()
    if not status.is_file():
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Damage files of the modalities asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--modality", default=",".join(SETTINGS))
    arguments = parser.parse_args()
    print("    modality  media  refused  untyped  died  slow  slowest     peak")
    is_fine = True
    for name in arguments.modality.split(","):
        with tempfile.TemporaryDirectory() as folder:
            found = fuzz(name, arguments.count, arguments.seed, Path(folder))
        is_fine &= found.is_fine
        counts = f"{found.media:6} {found.refused:8} {len(found.untyped):8} {len(found.died):5} {len(found.slow):5}"
        print(f"{name:>12} {counts} {found.slowest:6.2f} s {found.memory >> 20:5} MB", flush=True)
        for line in [*found.untyped, *found.died, *found.slow][:10]:
            print(f"    {line}")
    raise SystemExit(0 if is_fine else 1)


if __name__ == "__main__":
    main()
