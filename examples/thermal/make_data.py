"""Make the data of thermal.yaml: frames of a simulated infrared array, and rows that ask what it sees.

    python make_data.py

Nothing here was measured. The sensor is like the cheap ones that count people in a room: 8 x 8 pixels of a few degrees
of view each, noise of 0.3 °C from frame to frame and 0.2 °C from pixel to pixel. A person is a warm spot of about two
pixels, 4 to 9 °C above the room; a hot cup is one pixel, far hotter. No frame is drawn twice, and those of `test.jsonl`
are not trained on.
"""

import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "data"
SCENES = {"nothing": (0, 0), "one person": (1, 0), "two people": (2, 0), "a hot cup": (0, 1)}
"""How many people and cups are seen."""
FRAMES, TESTED = 960, 80
QUESTION = "What does the sensor see?"


def spot(row: float, column: float, width: float) -> np.ndarray:
    """Return a spot (8, 8) whose largest value is about 1."""
    rows, columns = np.mgrid[:8, :8]
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))


def frame(scene: str, noise: np.random.Generator) -> np.ndarray:
    """Return a frame (1, 8, 8) in degrees Celsius."""
    people, cups = SCENES[scene]
    seen = noise.uniform(18, 24) + noise.normal(0, 0.2, (8, 8)) + noise.normal(0, 0.3, (8, 8))
    columns = [noise.uniform(0.5, 2.5), noise.uniform(4.5, 6.5)]  # two people do not stand in one place
    noise.shuffle(columns)
    for column in columns[:people]:
        seen += noise.uniform(4, 9) * spot(noise.uniform(1.5, 5.5), column, noise.uniform(0.9, 1.3))
    for _ in range(cups):
        row, column = noise.integers(1, 7, 2)
        seen += noise.uniform(18, 26) * spot(row, column, 0.5)
    return seen[None].astype(np.float32)


def main() -> None:
    """Write frames, and rows that read and write them; the last frames are for tests alone."""
    FOLDER.mkdir(exist_ok=True)
    rows: dict[str, list[dict[str, list[dict[str, object]]]]] = {"read": [], "write": [], "test": []}
    for number in range(FRAMES + TESTED):
        scene = list(SCENES)[number % len(SCENES)]
        np.save(FOLDER / f"{number}.npy", frame(scene, np.random.default_rng([7, number])))
        part = {"type": "thermal", "path": f"{number}.npy"}
        read = [{"role": "user", "content": [part, QUESTION]}, {"role": "assistant", "content": scene}]
        write = [{"role": "user", "content": f"Show {scene}."}, {"role": "assistant", "content": [part]}]
        if number < FRAMES:
            rows["write"].append({"messages": write})
        rows["read" if number < FRAMES else "test"].append({"messages": read})
    for name, found in rows.items():
        lines = "".join(json.dumps(row) + "\n" for row in found)
        (FOLDER / f"{name}.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
