"""Who judges EEG: exact match for words, and for recordings canonical correlation with a flicker, fitted on nothing."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from polyjanus.core.evaluation import Metric, Sample, Score
from polyjanus.core.pipeline import Pipeline
from polyjanus.encoders.eeg.recording import Recording
from polyjanus.encoders.eeg.ssvep import NAMES, QUESTIONS, REQUESTS, TARGETS, Person, make_ssvep
from polyjanus.encoders.shared.signals import Array

UNSEEN = 1_000_000
"""People and recordings of numbers from here on are in no data set."""
PEOPLE, HELD_OUT = 20, 160
HARMONICS = (1, 2)
BAND_HZ = (2.0, 40.0)
MODALITY = "eeg"


def unseen(count: int) -> tuple[list[Recording], Array]:
    """Return recordings of people whom no data set holds, target after target, and each one's target (count,)."""
    labels = np.arange(count) % len(NAMES)
    media = [
        make_ssvep(NAMES[label], Person.of(UNSEEN + i // len(NAMES) % PEOPLE), np.random.default_rng([UNSEEN + i, 1]))
        for i, label in enumerate(labels)
    ]
    return media, labels


def correlation(volts: Array, sample_rate: float, frequency: float) -> float:
    """Return the largest canonical correlation of volts (C, T) with sines of a frequency in Hz and its harmonics.

    The standard detector of steady-state potentials (Lin et al., IEEE Trans. Biomed. Eng. 2006).
    """
    times = np.arange(volts.shape[1]) / sample_rate
    angles = [2 * np.pi * k * frequency * times for k in HARMONICS]
    waves = np.stack([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1)
    bases: list[Array] = []
    for columns in (volts.T.astype(np.float64), waves):
        left, sizes, _ = np.linalg.svd(columns - columns.mean(0), full_matrices=False)
        bases.append(left[:, sizes > 1e-9 * max(float(sizes[0]), 1e-30)])
    if not bases[0].shape[1]:
        return 0.0
    return float(np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)[0])


def detect(media: Recording) -> int:
    """Return the number of the target whose flicker a recording agrees with best."""
    return int(np.argmax([correlation(media.volts, media.sample_rate, hertz) for hertz in TARGETS.values()]))


def log_spectrum(media: list[Recording]) -> Array:
    """Return the logarithm of the mean power (F,) of recordings of one length and rate, between 2 and 40 Hz."""
    power = np.mean([(np.abs(np.fft.rfft(each.volts)) ** 2).mean(0) for each in media], axis=0)
    hertz = np.fft.rfftfreq(media[0].volts.shape[1], 1 / media[0].sample_rate)
    return np.log(power[(hertz >= BAND_HZ[0]) & (hertz <= BAND_HZ[1])] + 1e-20)


def agreement(first: list[Recording], second: list[Recording]) -> float:
    """Return the correlation of the logarithmic mean spectra of two sets of recordings."""
    return float(np.corrcoef(log_spectrum(first), log_spectrum(second))[0, 1])


@cache
def ceiling() -> float:
    """Return how many recordings of unseen people the detector names rightly."""
    media, labels = unseen(HELD_OUT)
    return float(np.mean([detect(each) == label for each, label in zip(media, labels, strict=True)]))


class NamedTargets(Metric):
    """EEG of unseen people, whose target is named in words."""

    def measure(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Score:
        """Ask about 160 recordings, or `limit`."""
        media, labels = unseen(limit or HELD_OUT)
        prompts: list[Any] = [[{"type": MODALITY, MODALITY: each}, QUESTIONS[0]] for each in media]
        greedy = {"text": {"type": "greedy"}}
        replies = pipeline.run_many(prompts, ["text"], seed=seed, samplers=greedy, max_tokens=8)
        answers = [reply.text for reply in replies]
        right = sum(answer == NAMES[label] for answer, label in zip(answers, labels, strict=True))
        samples = tuple(Sample(a or "?", MODALITY, each) for a, each in zip(answers[:4], media, strict=False))
        return Score.of(
            right,
            len(media),
            input=MODALITY,
            output="text",
            judge="exact match",
            details={"detector_on_real": ceiling()},
            samples=samples,
        )


class MadeTargets(Metric):
    """EEG made on request."""

    def measure(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Score:
        """Ask for 160 recordings, or `limit`, with the pipeline's own sampler."""
        real, wanted = unseen(limit or HELD_OUT)
        prompts = [REQUESTS[0].format(NAMES[label]) for label in wanted]
        made = [reply.media(MODALITY)[0] for reply in pipeline.run_many(prompts, [MODALITY], seed=seed)]
        right = sum(detect(each) == label for each, label in zip(made, wanted, strict=True))
        return Score.of(
            right,
            len(wanted),
            input="text",
            output=MODALITY,
            judge=f"canonical correlation, nothing fitted ({ceiling():.1%} of real simulated EEG)",
            commands=(f'"{REQUESTS[0].format("left")}" --output {MODALITY} -o left.edf',),
            details={"judge_on_real": ceiling(), "spectrum": agreement(made, real)},
            samples=tuple(Sample(NAMES[label], MODALITY, m) for label, m in zip(wanted[:4], made, strict=False)),
        )
