"""Made-up EEG of people who look at one of four flickering targets: something to try a pipeline on.

All of it is simulated, and no head was modelled: sources of 1/f noise and rhythms lie in a head of the size of that of
the 10-20 system, and reach an electrode the less the farther it is (a Gaussian in place of a leadfield). Steady-state
visual evoked potentials (Norcia et al., J. Vision 2015) come from the back of the head, blinks from the eyes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from polyjanus.core.data.rows import Row, Source
from polyjanus.encoders.eeg.names import positions_of
from polyjanus.encoders.eeg.recording import Recording
from polyjanus.encoders.shared.signals import Array

TARGETS = {"left": 8.0, "right": 10.0, "up": 12.0, "down": 15.0}
"""Each target's word, and how often it flickers, in Hz."""
NAMES = tuple(TARGETS)
QUESTIONS = ("Which target?", "Where does the person look?", "Name the target.")
REQUESTS = ("EEG of looking {}.", "Show EEG of a person who looks {}.", "A person looks {}.")
CHANNELS = ("Fz", "Cz", "Pz", "O1", "Oz", "O2")
RATE = 200.0
HARMONICS = ((1, 1.0), (2, 0.4), (3, 0.2))
"""Multiples of the flicker's frequency, and their share of its amplitude."""
BACKGROUND, SENSOR, SSVEP, ALPHA, BLINK = 6e-6, 1e-6, 8e-6, 3e-6, 8e-5
"""Volts: standard deviation of the background and of the sensors, amplitude of the rest where it is strongest."""
SOURCES, REACH = 24, 0.045
"""Sources of the background, and how far a source reaches, in metres."""
EYES, BACK = (0.0, 0.09, -0.02), (0.0, -0.105, 0.01)
JITTER = 0.003
"""Seconds by which the answer to a flicker varies between recordings of one person."""
BLINKS = 0.3
"""Share of recordings with a blink, which lasts about a fifth of a second."""


@dataclass(frozen=True)
class Person:
    """What differs between people.

    Where the visual cortex lies (m), how late it answers (s), amplitudes (V), the frequency of alpha (Hz), and how the
    power of the background falls.
    """

    place: Array
    delay: float
    ssvep: float
    alpha: float
    alpha_hz: float
    slope: float

    @classmethod
    def of(cls, number: int) -> Person:
        """Return the person of a number."""
        random = np.random.default_rng([number, 11])
        return cls(
            np.array(BACK) + random.normal(0, 0.01, 3),
            float(random.normal(0.12, 0.01)),
            SSVEP * float(np.exp(random.normal(0, 0.25))),
            ALPHA * float(np.exp(random.normal(0, 0.5))),
            float(random.uniform(9, 11)),
            float(random.uniform(0.8, 1.2)),
        )


class SsvepRows(Source):
    """Questions about made-up EEG, or requests for it; person after person, target after target."""

    def __init__(self, task: str, rows: int, people: int, seconds: float) -> None:
        self.task, self.rows, self.people, self.seconds = task, rows, people, seconds

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.rows

    def group(self, index: int) -> str:
        """Return the person of a row, who is held out whole."""
        return f"person {index // len(NAMES) % self.people}"

    def place(self, index: int) -> str:
        """Return the number and the person of a row."""
        return f"row {index}, {self.group(index)}"

    def row(self, index: int, noise: np.random.Generator) -> Row:
        """Return one conversation; target and person are those of its number, all else comes from `noise`."""
        name = NAMES[index % len(NAMES)]
        media = make_ssvep(name, Person.of(index // len(NAMES) % self.people), noise, self.seconds)
        part: dict[str, Any] = {"type": "eeg", "eeg": media}
        if self.task == "name":
            asked: list[Any] = [part, QUESTIONS[noise.integers(len(QUESTIONS))]]
            answer: list[Any] = [name]
        else:
            asked = [REQUESTS[noise.integers(len(REQUESTS))].format(name)]
            answer = [part]
        return {
            "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}],
            "subject": self.group(index),
        }


def make_ssvep(name: str, person: Person, noise: np.random.Generator, seconds: float = 2.0) -> Recording:
    """Return simulated volts of somebody who looks at a target, from when it began; the rest comes from `noise`."""
    total = round(seconds * RATE)
    times = np.arange(total) / RATE
    volts = BACKGROUND * _background() @ pink(noise, SOURCES, total, slope=person.slope, rate=RATE)
    back = _reach(person.place[None])[:, 0]
    angle = 2 * np.pi * TARGETS[name] * (times - person.delay - noise.normal(0, JITTER))
    flicker = sum(share * np.sin(k * angle) for k, share in HARMONICS)
    volts = volts + np.outer(back, person.ssvep * np.asarray(flicker))
    volts += np.outer(back, person.alpha * rhythm(noise, total, hertz=person.alpha_hz, rate=RATE))
    if noise.random() < BLINKS:
        when = noise.uniform(0.2, max(seconds - 0.2, 0.3))
        lid = np.exp(-0.5 * ((times - when) / 0.08) ** 2) * BLINK * noise.uniform(0.5, 1.5)
        volts += np.outer(_reach(np.array([EYES]))[:, 0], lid)
    volts += noise.normal(0, SENSOR, volts.shape)
    return Recording(volts.astype(np.float32), RATE, CHANNELS, positions_of(CHANNELS))


def _reach(places: Array) -> Array:
    """Return how much of each of S sources arrives at each electrode (C, S), 1 where they touch."""
    apart = positions_of(CHANNELS).astype(np.float64)[:, None] - places
    return np.exp(-(apart**2).sum(-1) / (2 * REACH**2))


@cache
def _background() -> Array:
    """Return the mixing (C, S) of the sources of the background, of power 1 at the average electrode."""
    random = np.random.default_rng(5)
    places = random.normal(size=(SOURCES, 3))
    places *= 0.07 / np.linalg.norm(places, axis=1, keepdims=True)
    places[:, 2] = np.abs(places[:, 2])
    mixing = _reach(places) + 0.05
    return mixing / np.sqrt((mixing**2).sum(1).mean())


def pink(noise: np.random.Generator, rows: int, total: int, *, slope: float, rate: float) -> Array:
    """Return noise (rows, total) of standard deviation 1 whose power falls with the frequency to the power `slope`."""
    frequencies = np.fft.rfftfreq(total, 1 / rate)
    frequencies[0] = frequencies[1]
    spectrum = np.fft.rfft(noise.normal(size=(rows, total))) / frequencies ** (slope / 2)
    values = np.fft.irfft(spectrum, total)
    return values / values.std(axis=1, keepdims=True)


def rhythm(noise: np.random.Generator, total: int, *, hertz: float, rate: float) -> Array:
    """Return a rhythm (total,) that swells and fades, of standard deviation 1, two hertz wide, at a rate in Hz."""
    shape = np.exp(-0.5 * ((np.fft.rfftfreq(total, 1 / rate) - hertz) / 1.0) ** 2)
    values = np.fft.irfft(np.fft.rfft(noise.normal(size=total)) * shape, total)
    return values / values.std()
