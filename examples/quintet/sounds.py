"""Digits as speech: the names spoken by espeak-ng in many voices, rates and pitches. It makes the data, and no more."""

from __future__ import annotations

import io
import subprocess
from typing import Any

import numpy as np

from polyjanus.core.errors import DataError
from polyjanus.examples.quintet.words import NAMES, Attributes

Array = np.ndarray[Any, Any]
RATE, SECONDS = 8000, 0.8
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
VOICES = {
    "train": (
        ("m1", "m3", "m4", "m7", "Gene", "john", "edward", "Andy", "iven", "norbert", "Diogo", "max", "michael"),
        ("f1", "f2", "f4", "linda", "steph2", "steph"),
    ),
    "judges": (("m2", "m6", "david", "rob", "marcelo"), ("f3", "belinda")),
    "test": (("m5", "m8", "victor", "Mario", "quincy", "adam"), ("f5", "steph3", "aunty")),
}
"""espeak-ng's voice variants by split, men's and women's; no voice is in two."""
PACE = {"fast": (225, 290), "slow": (122, 155)}
"""Words a minute."""
PITCH = {"high": ((), (68, 95)), "low": ((25, 60), (5, 12))}
"""espeak-ng's pitch of men's and of women's voices: high is above about 200 Hz, low below about 140 Hz."""
MU = 255.0
SNR = (16.0, 36.0)
"""Decibels of the speech above the noise, from and to."""


def speak(digit: int, split: str, attributes: Attributes, noise: np.random.Generator) -> Array:
    """Return the name of a digit in one of the split's voices, samples (6400,), int16 at 8 kHz."""
    men, women = VOICES[split]
    is_man = attributes["pitch"] == "low" and bool(noise.random() < 0.5)
    pitches = PITCH[attributes["pitch"]][0 if is_man else 1]
    voice = str(noise.choice(men if is_man else women))
    words = [
        "espeak-ng",
        "-v",
        f"{noise.choice(ACCENTS)}+{voice}",
        "-s",
        str(int(noise.integers(*PACE[attributes["speed"]]))),
    ]
    words += ["-p", str(int(noise.integers(*pitches))), "--stdout", NAMES[digit]]
    samples = _trimmed(_resampled(*_run(words)))
    return (samples / max(np.abs(samples).max(), 1e-6) * 30000).astype(np.int16)


def packed(samples: Array) -> Array:
    """Return samples, int16, as int8 by the mu-law (ITU-T G.711 without its segments)."""
    values = samples / 32768
    return np.round(np.sign(values) * np.log1p(MU * np.abs(values)) / np.log1p(MU) * 127).astype(np.int8)


def unpacked(codes: Array) -> Array:
    """Return the samples, int16, of int8."""
    values = codes / 127.0
    return (np.sign(values) * np.expm1(np.abs(values) * np.log1p(MU)) / MU * 32767).astype(np.int16)


def heard(samples: Array, noise: np.random.Generator) -> Array:
    """Return sound (6400,), float32, of stored speech: some loudness, some delay, some noise."""
    speech = samples.astype(np.float32) / 32768 * np.float32(10 ** (-noise.uniform(2, 10) / 20))
    last = np.flatnonzero(np.abs(speech) > 0.01).max(initial=0)
    delay = int(noise.integers(0, max(1, min(200, len(speech) - last))))
    delayed = np.concatenate([np.zeros(delay, np.float32), speech[: len(speech) - delay]])
    loudness = float(np.sqrt((delayed**2).mean()))
    hiss = noise.normal(0, loudness * 10 ** (-noise.uniform(*SNR) / 20), len(speech))
    return (delayed + hiss).astype(np.float32)


def _run(words: list[str]) -> tuple[Array, int]:
    import soundfile

    try:
        spoken = subprocess.run(words, check=True, capture_output=True).stdout
    except FileNotFoundError as error:
        raise DataError(
            "espeak-ng is not installed, which speaks the digits",
            where="the quintet's sounds",
            hint="apt-get install espeak-ng, or brew install espeak-ng",
        ) from error
    return soundfile.read(io.BytesIO(spoken), dtype="float32")


def _resampled(samples: Array, rate: int) -> Array:
    from polyjanus.encoders.audio.sound import resample

    return resample(samples[None], rate, RATE)[0]


def _trimmed(samples: Array) -> Array:
    """Return `SECONDS` of speech without the silence before it."""
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
    begun = samples[loud[0] if len(loud) else 0 :][: round(RATE * SECONDS)]
    return np.pad(begun, (0, round(RATE * SECONDS) - len(begun)))
