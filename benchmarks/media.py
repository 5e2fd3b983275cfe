"""What it costs to decode files in a process of their own: loading alone, and a training step that loads.

    python benchmarks/media.py [--rounds 7] [--batch 8] [--threads N] [--json FILE]

Both sides read the same files (written first: a 512 x 512 JPEG, 10 s of 16 kHz WAV, a PLY of 8192 points, 4 s of EEG
out of a minute of 19 electrodes in EDF, 10 s of a 6-channel CSV at 100 Hz), in one process, taking turns; medians are
printed. A step is forward and backward of examples/senses.yaml over `batch` rows that each read one file.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from polyjanus import Pipeline, __version__
from polyjanus.encoders.audio.media import Audio
from polyjanus.encoders.eeg.media import Recording
from polyjanus.encoders.eeg.names import positions_of
from polyjanus.encoders.point_cloud.media import PointCloud
from polyjanus.encoders.timeseries.media import TimeSeries

EXAMPLE = Path(__file__).parents[1] / "examples" / "senses.yaml"
HEAD = (
    "Fp1",
    "Fp2",
    "F7",
    "F3",
    "Fz",
    "F4",
    "F8",
    "T7",
    "C3",
    "Cz",
    "C4",
    "T8",
    "P7",
    "P3",
    "Pz",
    "P4",
    "P8",
    "O1",
    "O2",
)


def write_files(pipeline: Pipeline, folder: Path) -> dict[str, dict[str, Any]]:
    """Write one file per modality; return the content part that reads it."""
    noise = np.random.default_rng(0)
    waves = np.cumsum(noise.normal(size=(19, 12_000)), axis=1)
    volts = ((waves - waves.mean(1, keepdims=True)) * 1e-6).astype(np.float32)
    pixels = np.asarray(Image.fromarray(noise.integers(0, 255, (32, 32, 3), dtype=np.uint8)).resize((512, 512)))
    motion = noise.normal(size=(6, 1_000)).astype(np.float32)
    channels = pipeline.compiler.modalities["imu"].settings.channels
    media: dict[str, tuple[str, Any]] = {
        "image": (".jpg", Image.fromarray(pixels)),
        "audio": (".wav", Audio(noise.normal(size=(1, 160_000)).astype(np.float32) * 0.1, 16_000.0)),
        "point_cloud": (".ply", PointCloud(noise.normal(size=(8192, 3)).astype(np.float32), None, None)),
        "eeg": (".edf", Recording(volts, 200.0, HEAD, positions_of(HEAD))),
        "imu": (".csv", TimeSeries(motion, 100.0, channels)),
    }
    parts: dict[str, dict[str, Any]] = {}
    for name, (suffix, medium) in media.items():
        path = folder / f"{name}{suffix}"
        pipeline.compiler.modalities[name].save(medium, path)
        parts[name] = {"type": name, "path": str(path)}
    parts["eeg"] |= {"start": 20.0, "duration": 4.0}
    return parts


def paired(apart: Callable[[], Any], here: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Return the median seconds of both, which take turns; the first turn does not count."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        for side, function in enumerate((apart, here)):
            started = time.perf_counter()
            function()
            if turn:
                times[side].append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def step_of(pipeline: Pipeline, part: dict[str, Any], batch: int) -> Callable[[], None]:
    """Return a training step over rows that each read the file of a part."""
    row = [{"role": "user", "content": [part, "What is it?"]}, {"role": "assistant", "content": "A word."}]

    def step() -> None:
        pipeline.model(**pipeline.collate([row] * batch)).loss.backward()
        pipeline.model.zero_grad(set_to_none=True)

    return step


def measure(rounds: int, batch: int) -> list[dict[str, Any]]:
    """Return milliseconds per item of loading and of a step, in the decoder process and in this one."""
    apart = Pipeline.from_yaml(EXAMPLE, device="cpu")
    here = Pipeline.from_yaml(EXAMPLE, device="cpu")
    here.compiler = replace(here.compiler, decoder=None)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, part in write_files(apart, Path(folder)).items():
            options = (part["path"], part.get("start"), part.get("duration"))
            loads = [lambda p=p, n=name, o=options: [p.compiler.load(n, *o) for _ in range(10)] for p in (apart, here)]
            load = [value / 10 for value in paired(*loads, rounds)]
            step = [value / batch for value in paired(*(step_of(p, part, batch) for p in (apart, here)), rounds)]
            results.append({"modality": name, "load_ms": [1e3 * v for v in load], "step_ms": [1e3 * v for v in step]})
    return results


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    machine = f"{platform.machine()}, {arguments.threads} threads, torch {torch.__version__}"
    print(f"polyjanus {__version__}, {machine}; ms per item in the decoder process / in this one")
    results = measure(arguments.rounds, arguments.batch)
    for result in results:
        (load, plain), (step, bare) = result["load_ms"], result["step_ms"]
        ratio = f"step {step:7.2f} / {bare:7.2f} = {step / bare:.2f}"
        print(f"{result['modality']:>12}  load {load:7.2f} / {plain:7.2f}   {ratio}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
