"""EEG of people who look at one of ten flickering targets, as in an SSVEP speller, simulated in a head that MNE models.

Steady-state visual evoked potentials are those of joint frequency and phase coding (Chen et al., PNAS 2015): each
target has a frequency and a phase, and the answer keeps both. Sources lie in a spherical head model (MNE's
make_sphere_model): two in the visual cortex, many of 1/f noise anywhere. Volts are to the average of all electrodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from polyjanus.encoders.eeg.names import positions_of
from polyjanus.encoders.eeg.recording import Recording
from polyjanus.encoders.eeg.ssvep import pink, rhythm
from polyjanus.examples.quintet.words import Attributes

Array = np.ndarray[Any, Any]
CAP = (
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
    "Oz",
    "O2",
)
HEAD = "head.npz"
"""The leadfields, as `making.py` has MNE compute them."""
CHANNELS = ("Pz", "O1", "Oz", "O2")
RATE, SECONDS = 100.0, 2.0
FREQUENCIES = tuple(8.0 + 7.0 * digit / 9 for digit in range(10))
"""Hz of the ten targets."""
PHASE = 0.35 * np.pi
"""Radians between the phases of neighbouring targets."""
HARMONICS = ((1, 1.0), (2, 0.45), (3, 0.2))
"""Multiples of the flicker's frequency, and their share of its amplitude."""
AMPLITUDE = {"strong": (17e-9, 23e-9), "weak": (8e-9, 11e-9)}
"""Ampere metres of the dipoles in the visual cortex, from and to."""
BACKGROUND, SENSOR, BLINK, BLINKS = 7e-6, 0.8e-6, 12e-6, 0.3
"""Volts of background and sensors (standard deviation) and of a blink at Pz, and the share of trials with one."""
PLACES, SOURCES = 24, 80
"""Places of visual cortices among which people differ, and sources of the background, about."""
BAND_HZ = (7.0, 48.0)
"""What the amplifier lets pass, as is usual for flickers from 8 Hz on."""
JITTER = 0.25
"""Radians by which the phase differs from trial to trial."""


def leadfields(seed: int = 7) -> dict[str, Array]:
    """Return the volts of one ampere metre at `CHANNELS`: `visual` (P, C, 2) and `background` (C, C)."""
    import mne as library

    mne: Any = library
    mne.set_log_level("ERROR")
    info = mne.create_info(list(CAP), RATE, "eeg")
    info.set_montage("standard_1020")
    sphere = mne.make_sphere_model("auto", "auto", info)
    radius, centre = sphere["layers"][0]["rad"], np.array(sphere["r0"])
    random = np.random.default_rng(seed)
    back = np.array([(-0.2, -0.95, 0.25), (0.2, -0.95, 0.25)])
    places = np.concatenate([back + random.normal(0, 0.08, back.shape) for _ in range(PLACES)])
    outward = places / np.linalg.norm(places, axis=1, keepdims=True)
    dipoles = {"rr": centre + 0.85 * radius * outward, "nn": outward}
    anywhere = mne.setup_volume_source_space(sphere=sphere, pos=25.0, mindist=0, sphere_units="m")
    found: dict[str, Array] = {}
    rows = [CAP.index(name) for name in CHANNELS]
    for name, space in (
        ("visual", mne.setup_volume_source_space(pos=dipoles, sphere_units="m")),
        ("background", anywhere),
    ):
        forward = mne.make_forward_solution(info, trans=None, src=space, bem=sphere, eeg=True, meg=False, mindist=0)
        field = forward["sol"]["data"].reshape(len(CAP), -1, 3)
        found[name] = (field - field.mean(0))[rows]
    radial = np.einsum("cpx,px->cp", found["visual"], outward)
    mixing = found["background"].reshape(len(rows), -1)
    return {
        "visual": radial.reshape(len(rows), PLACES, 2).transpose(1, 0, 2),
        "background": np.linalg.cholesky(mixing @ mixing.T),  # as many sources as electrodes, of equal covariance
    }


@cache
def head() -> Head:
    """Return the head whose leadfields ship with this package."""
    with np.load(str(files("polyjanus.examples.quintet") / HEAD)) as archive:
        return Head(archive["visual"], archive["background"])


@dataclass(frozen=True)
class Person:
    """What differs between people.

    Which cortex is theirs, how strong each side answers, how late (radians of the phase), how strong alpha is (V) and
    at which frequency (Hz), and how the power of the background falls.
    """

    place: int
    sides: Array
    delay: float
    alpha: float
    alpha_hz: float
    slope: float

    @classmethod
    def of(cls, number: int) -> Person:
        """Return the person of a number."""
        random = np.random.default_rng([number, 23])
        return cls(
            int(random.integers(PLACES)),
            np.exp(random.normal(0, 0.12, 2)),
            float(random.normal(0, 0.15)),
            1.5e-6 * float(np.exp(random.normal(0, 0.4))),
            float(random.uniform(9, 11)),
            float(random.uniform(0.8, 1.2)),
        )


class Head:
    """A head that MNE modelled, and what is recorded from it; `visual` (P, C, 2) and `background` (C, S), in volts."""

    def __init__(self, visual: Array, background: Array) -> None:
        self.visual = visual
        self.background = background / np.sqrt((background**2).sum(1).mean())
        self.positions = positions_of(CHANNELS)

    def trial(self, digit: int, person: Person, attributes: Attributes, noise: np.random.Generator) -> Recording:
        """Return two seconds of somebody who looks at a target, from when it began to flicker."""
        total = round(RATE * SECONDS)
        times = np.arange(total) / RATE
        angle = 2 * np.pi * FREQUENCIES[digit] * times + PHASE * digit + person.delay + noise.normal(0, JITTER)
        flicker = np.sum([share * np.sin(multiple * angle) for multiple, share in HARMONICS], axis=0)
        moment = noise.uniform(*AMPLITUDE[attributes["amplitude"]])
        volts = np.outer(self.visual[person.place] @ person.sides, moment * flicker)
        volts += BACKGROUND * self.background @ pink(noise, len(CHANNELS), total, slope=person.slope, rate=RATE)
        volts += np.outer([0.6, 1.0, 1.0, 1.0], person.alpha * rhythm(noise, total, hertz=person.alpha_hz, rate=RATE))
        if noise.random() < BLINKS:
            lid = np.exp(-0.5 * ((times - noise.uniform(0.2, SECONDS - 0.2)) / 0.08) ** 2)
            volts += np.outer([1.0, 0.6, 0.6, 0.6], BLINK * noise.uniform(0.5, 1.5) * lid)
        volts = _passed(volts + noise.normal(0, SENSOR, volts.shape))
        return Recording(volts.astype(np.float32), RATE, CHANNELS, self.positions)


def _passed(volts: Array) -> Array:
    """Return volts (C, T) without what lies outside the band of the amplifier."""
    hertz = np.fft.rfftfreq(volts.shape[1], 1 / RATE)
    return np.fft.irfft(np.fft.rfft(volts) * ((hertz >= BAND_HZ[0]) & (hertz <= BAND_HZ[1])), volts.shape[1])
