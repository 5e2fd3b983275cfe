"""Make the data of examples/motion.yaml again: simulated accelerometers of four activities, and questions about them.

    python examples/motion/make.py

The recordings are simulated, not measured. Each is one minute at 25 Hz; the rows cut two seconds out of it.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
RATE, SECONDS, CUT = 25, 60, 2.0
ACTIVITIES = {"resting": (0.0, 0.05), "walking": (1.8, 2.5), "running": (2.9, 8.0), "shaking": (5.5, 12.0)}
"""Steps or shakes per second, and how strong they are in m/s²."""


def record(activity: str, number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return accelerations (T, 3) in m/s², gravity on z."""
    noise = np.random.default_rng([list(ACTIVITIES).index(activity), number])
    rate, strength = ACTIVITIES[activity]
    times = np.arange(RATE * SECONDS) / RATE
    phase = 2 * np.pi * np.cumsum(np.full(len(times), rate) * (1 + 0.05 * np.sin(times / 7))) / RATE
    share = {"walking": (0.3, 0.4, 1.0), "running": (0.4, 0.5, 1.0), "shaking": (1.0, 0.7, 0.2)}.get(
        activity, (1, 1, 1)
    )
    waves = [np.sin(phase + noise.uniform(0, 6)) + 0.3 * np.sin(2 * phase + noise.uniform(0, 6)) for _ in range(3)]
    moved = strength * noise.uniform(0.8, 1.2) * np.array(share) * np.array(waves).T
    return moved + [0, 0, 9.81] + noise.normal(0, 0.15, (len(times), 3))


def main() -> None:
    """Write two recordings of each activity, and a row for each cut: one asks what it is, one asks for it."""
    read, write = [], []
    for activity in ACTIVITIES:
        for number in range(2):
            name = f"{activity}{number}.csv"
            with (FOLDER / name).open("w", newline="", encoding="utf-8") as file:
                table = csv.writer(file)
                table.writerow(["ax", "ay", "az"])
                table.writerows([[f"{value:.2f}" for value in row] for row in record(activity, number)])
            for start in np.arange(0, SECONDS - CUT, 0.5):
                part = {"type": "motion", "path": name, "start": float(start), "duration": CUT}
                asked = {"role": "user", "content": [part, "What is the person doing?"]}
                read.append({"messages": [asked, {"role": "assistant", "content": activity}]})
                wanted = {"role": "user", "content": f"Show me someone {activity}."}
                write.append({"messages": [wanted, {"role": "assistant", "content": [part]}]})
    for name, rows in (("read", read), ("write", write)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (FOLDER / f"{name}.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
