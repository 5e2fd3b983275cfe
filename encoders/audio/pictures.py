"""A picture of sound: the wave, and below it the spectrogram. NumPy and PIL alone.

Shape letters: C channels, T samples.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw

from polyjanus.encoders.shared.signals import Array, draw_traces, to_png

WIDTH, HEIGHT, MARGIN = 960, 220, 56
WINDOW_SECONDS = 0.032
FLOOR_DB = 80.0
"""Decibels below the loudest cell that are drawn black."""
STOPS = ((0, 0, 4), (60, 15, 110), (140, 40, 130), (220, 80, 90), (250, 160, 90), (252, 250, 190))
"""Colours from silent to loud."""
MOST_SAMPLES = 2_000_000


def draw_sound(samples: Array, sample_rate: float) -> bytes:
    """Return a PNG of sound (C, T): its wave and its spectrogram, of the mean of the channels."""
    step = max(1, samples.shape[1] // MOST_SAMPLES)
    mono = samples[:, : samples.shape[1]].mean(0)
    wave = Image.open(io.BytesIO(draw_traces(mono[None, ::step], sample_rate / step, ("wave",))))
    image = Image.new("RGB", (WIDTH, wave.height + HEIGHT + 4), (255, 255, 255))
    image.paste(_spectrogram(mono, sample_rate).resize((WIDTH - MARGIN - 4, HEIGHT)), (MARGIN, wave.height))
    image.paste(wave, (0, 0))
    pencil = ImageDraw.Draw(image)
    pencil.text((4, wave.height), f"{sample_rate / 2000:g} kHz", fill=(150, 150, 150))
    pencil.text((4, wave.height + HEIGHT - 12), "0", fill=(150, 150, 150))
    return to_png(image)


def _spectrogram(mono: Array, sample_rate: float) -> Image.Image:
    """Return the short-time spectrum as a picture, low frequencies at the bottom."""
    length = max(16, int(WINDOW_SECONDS * sample_rate))
    padded = np.pad(mono, (0, max(0, length - len(mono))))
    starts = np.linspace(0, len(padded) - length, WIDTH - MARGIN - 4).astype(int)
    frames = padded[starts[:, None] + np.arange(length)] * np.hanning(length)
    power = np.abs(np.fft.rfft(frames, axis=1)).T[::-1] ** 2
    decibels = 10 * np.log10(power + 1e-12)
    shades = ((decibels - decibels.max()) / FLOOR_DB + 1).clip(0, 1)
    places = np.linspace(0, 1, len(STOPS))
    colours = np.stack([np.interp(shades, places, [stop[i] for stop in STOPS]) for i in range(3)], axis=-1)
    return Image.fromarray(colours.astype(np.uint8))
