"""Who judges the quintet: classifiers fitted on handwriting and voices that no model saw, and a detector for EEG.

The detector is fitted on nothing. What each is worth on real signals of the test split is the ceiling of every score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from polyjanus.core.judging import KernelClassifier
from polyjanus.encoders.audio.media import Audio
from polyjanus.encoders.eeg.recording import Recording
from polyjanus.encoders.point_cloud.media import PointCloud
from polyjanus.examples.quintet.brain import FREQUENCIES
from polyjanus.examples.quintet.words import ATTRIBUTES, SENSES
from polyjanus.examples.quintet.world import Instance, World, held_out, open_world

Array = np.ndarray[Any, Any]
SIDE = 16
"""Cells a side at which pictures and solids are compared."""
BANDS_HZ = ((6.0, 45.0), (14.0, 45.0), (22.0, 45.0))
"""The filter bank of EEG."""
MULTIPLES = np.arange(1, 4)
"""Harmonics that are looked for."""
FITTED, TESTED = 2000, 1000
"""Signals on which a judge is fitted, and on which its ceiling is measured."""


def ink_of(picture: Any) -> Array:
    """Return a picture as ink (H, W) from 0 to 1: how far each pixel is from the paper, of the farthest."""
    pixels = np.asarray(picture, dtype=np.float64).reshape(*np.asarray(picture).shape[:2], -1)
    paper = np.median(pixels.reshape(-1, pixels.shape[2]), axis=0)
    far = np.abs(pixels - paper).sum(2)
    return far / max(float(np.quantile(far, 0.98)), 1e-6)


def image_digit(picture: Any) -> Array:
    """Return ink (256,), half as fine and centred on its middle."""
    ink = ink_of(picture).clip(0, 1)
    cells = ink.reshape(SIDE, ink.shape[0] // SIDE, SIDE, ink.shape[1] // SIDE).mean((1, 3))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    total = max(float(cells.sum()), 1e-6)
    shift = [round((SIDE - 1) / 2 - float((cells * axis).sum()) / total) for axis in (rows, columns)]
    return np.roll(cells, shift, (0, 1)).ravel()


def image_colour(picture: Any) -> Array:
    """Return the mean colour (3,) of what is most inked, from 0 to 1."""
    pixels, ink = np.asarray(picture, dtype=np.float64), ink_of(picture)
    return pixels[ink > 0.7].mean(0) / 255


def image_slant(picture: Any) -> Array:
    """Return how far the ink leans (1,), from its second moments."""
    ink = ink_of(picture).clip(0, 1)
    ink = np.where(ink > 0.2, ink, 0)
    rows, columns = np.mgrid[: ink.shape[0], : ink.shape[1]]
    y, x = (ink * rows).sum() / ink.sum(), (ink * columns).sum() / ink.sum()
    return np.array([3 * (ink * (rows - y) * (columns - x)).sum() / max((ink * (rows - y) ** 2).sum(), 1e-6)])


def cepstrum(sound: Audio) -> Array:
    """Return log mel magnitudes (20, F) of a sound, its loudest at 0, nothing below -6."""
    import torch

    from polyjanus.encoders.audio.sound import MelSpectrum

    frames = MelSpectrum(round(sound.sample_rate), 20, 100).frames(torch.from_numpy(sound.samples[:1]))[0].numpy()
    return (frames - frames.max()).clip(min=-6.0)


def audio_digit(sound: Audio) -> Array:
    """Return the spectrum (20 · 16,) from where the sound begins to where it ends, stretched to one length."""
    frames = cepstrum(sound)
    loud = np.flatnonzero(frames.max(0) > -3.5)
    begun = frames[:, loud[0] : loud[-1] + 1]
    at = np.linspace(0, begun.shape[1] - 1, SIDE)
    stretched = np.stack([np.interp(at, np.arange(begun.shape[1]), band) for band in begun])
    return (stretched / 6 + 0.5).ravel() / 2


def audio_speed(sound: Audio) -> Array:
    """Return how long it sounds (41,), beside its spectrum: the same digit spoken fast is shorter."""
    loud = np.flatnonzero(cepstrum(sound).max(0) > -3.5)
    spectrum = audio_digit(sound).reshape(5, 4, 8, 2).mean((1, 3)).ravel()
    return np.concatenate([[(loud[-1] - loud[0]) / 20], spectrum / 2])


def audio_pitch(sound: Audio) -> Array:
    """Return how well the loudest frames agree with themselves one period later (20,), over periods of 60 to 300 Hz."""
    samples, rate = sound.samples[0].astype(np.float64), sound.sample_rate
    size = round(0.06 * rate)
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 6]
    frames = frames[np.argsort(-(frames**2).sum(1))[:12]]
    frames = (frames - frames.mean(1, keepdims=True)) * np.hanning(size)
    agreement = np.fft.irfft(np.abs(np.fft.rfft(frames, 2 * size)) ** 2)[:, :size]
    agreement = agreement.mean(0) / max(float(agreement[:, 0].mean()), 1e-12)
    return np.interp(rate / np.geomspace(60, 300, 20), np.arange(size), agreement)


def cloud_digit(cloud: PointCloud) -> Array:
    """Return a solid from above as a histogram (256,), centred and of one size, blurred."""
    xy = cloud.xyz[:, :2] - (cloud.xyz[:, :2].min(0) + cloud.xyz[:, :2].max(0)) / 2
    places = xy / max(float(np.quantile(np.abs(xy), 0.995)), 1e-6)
    edges = np.linspace(-1.15, 1.15, SIDE + 1)
    counts = np.histogram2d(places[:, 1], places[:, 0], bins=(edges, edges))[0]
    for _ in range(2):  # along either axis
        padded = np.pad(counts, ((1, 1), (0, 0)))
        counts = (padded[:-2] / 4 + padded[1:-1] / 2 + padded[2:] / 4).T
    return np.sqrt(counts / counts.max()).ravel()


def cloud_size(cloud: PointCloud) -> Array:
    """Return the distance (1,) in metres within which most points lie from the middle."""
    return np.array([np.quantile(np.linalg.norm(cloud.xyz - cloud.xyz.mean(0), axis=1), 0.9)])


def brain_scores(recording: Recording) -> Array:
    """Return how well EEG agrees with each target (10,): filter-bank canonical correlation (Chen et al., 2015)."""
    volts, rate = recording.volts.astype(np.float64), recording.sample_rate
    hertz = np.fft.rfftfreq(volts.shape[1], 1 / rate)
    spectrum = np.fft.rfft(volts)
    total = np.zeros(len(FREQUENCIES))
    for number, (low, high) in enumerate(BANDS_HZ, start=1):
        passed = np.fft.irfft(spectrum * ((hertz >= low) & (hertz <= high)), volts.shape[1])
        seen = np.linalg.qr(passed.T)[0]
        found = np.linalg.svd(seen.T @ _waves(rate, volts.shape[1]), compute_uv=False)[:, 0]
        total += (number**-1.25 + 0.25) * found**2
    return total


@cache
def _waves(rate: float, total: int) -> Array:
    """Return an orthonormal basis (10, T, 6) of the sines of each target and its harmonics."""
    angles = 2 * np.pi * np.arange(total)[:, None] / rate * np.array(FREQUENCIES)[:, None, None] * MULTIPLES
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=2)
    return np.linalg.qr(waves - waves.mean(1, keepdims=True))[0]


def brain_amplitude(recording: Recording) -> Array:
    """Return the logarithm (1,) of the microvolts at the frequency of the target that is found."""
    volts, rate = recording.volts.astype(np.float64), recording.sample_rate
    angle = 2 * np.pi * FREQUENCIES[int(brain_scores(recording).argmax())] * np.arange(volts.shape[1]) / rate
    answer = np.abs(volts @ np.exp(-1j * angle)) * 2 / volts.shape[1]
    return np.log([float(answer.mean()) * 1e6 + 1e-3])


LOOKS: Mapping[str, Mapping[str, tuple[Callable[[Any], Array], float, float]]] = {
    "image": {
        "digit": (image_digit, 0.05, 0.01),
        "colour": (image_colour, 4.0, 0.1),
        "slant": (image_slant, 4.0, 0.3),
    },
    "audio": {
        "digit": (audio_digit, 0.3, 0.01),
        "pitch": (audio_pitch, 1.0, 0.02),
        "speed": (audio_speed, 0.3, 0.05),
    },
    "point_cloud": {
        "digit": (cloud_digit, 0.03, 0.01),
        "size": (cloud_size, 8.0, 0.3),
        "tilt": (cloud_digit, 0.03, 0.01),
    },
    "eeg": {"amplitude": (brain_amplitude, 2.0, 0.3)},
}
"""By sense and question: what a judge looks at, how near is alike, and how smooth it is."""


class Judge:
    """Who says what a signal is, about one question: its digit or one of its attributes."""

    def __init__(self, sense: str, question: str, vectors: Array | None, labels: Array) -> None:
        self.sense, self.question = sense, question
        self.is_fitted = vectors is not None
        if vectors is not None:
            self._look, gamma, ridge = LOOKS[sense][question]
            self._fitted = KernelClassifier(vectors, labels, gamma=gamma, ridge=ridge)

    def predict(self, media: Sequence[Any]) -> Array:
        """Return what it takes media to be (N,)."""
        if not self.is_fitted:
            return np.array([brain_scores(each).argmax() for each in media])
        return self._fitted.predict(np.stack([self._look(each) for each in media]))

    def is_right(self, media: Sequence[Any], wanted: Sequence[Instance]) -> Array:
        """Return for which media (N,) it says what was wanted."""
        return self.predict(media) == labels_of(self.sense, self.question, wanted)


def labels_of(sense: str, question: str, instances: Sequence[Instance]) -> Array:
    """Return what instances are (N,), about one question."""
    if question == "digit":
        return np.array([each.digit for each in instances])
    values = ATTRIBUTES[sense][question]
    return np.array([values.index(each.attributes[question]) for each in instances])


def signals(world: World, sense: str, count: int, seed: int = 0, fold: int = 0) -> list[Instance]:
    """Return signals of a split, or of one of its folds, digit after digit."""
    noise = np.random.default_rng([seed, SENSES.index(sense)])
    return [world.draw(sense, number % 10, noise, fold=fold) for number in range(count)]


def looked_at(sense: str, instances: Sequence[Instance]) -> dict[str, tuple[Array | None, Array]]:
    """Return, by question, what a judge sees of instances (N, d), and what they are (N,)."""
    found: dict[str, tuple[Array | None, Array]] = {}
    for question in ("digit", *ATTRIBUTES[sense]):
        look = LOOKS[sense].get(question)
        vectors = None if look is None else np.stack([look[0](each.media) for each in instances])
        found[question] = vectors, labels_of(sense, question, instances)
    return found


@cache
def judges(sense: str) -> dict[str, tuple[Judge, float]]:
    """Return, by question, who judges a sense, and the share of real test signals that it gets right."""
    if sense == "audio":
        fitted_on = {question: heard_of(question) for question in ("digit", *ATTRIBUTES[sense])}
    else:
        fitted_on = looked_at(sense, signals(open_world("judges"), sense, FITTED))
    tested_on = signals(open_world("test"), sense, TESTED, seed=9)
    found: dict[str, tuple[Judge, float]] = {}
    for question, (vectors, labels) in fitted_on.items():
        judge = Judge(sense, question, vectors, labels)
        found[question] = judge, float(judge.is_right([each.media for each in tested_on], tested_on).mean())
    return found


def heard_of(question: str) -> tuple[Array, Array]:
    """Return what judges of speech are fitted on, of voices that no model heard, as it ships with this package."""
    kept, name = held_out(), f"judges.{question}"
    return kept[name] * kept[f"{name}.scale"], kept[f"{name}.labels"]
