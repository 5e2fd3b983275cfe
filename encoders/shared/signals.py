"""What signals over time share: channels and samples at a rate, cut by seconds, checked, and drawn as traces.

Shape letters: C channels, T samples.
"""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageDraw

from polyjanus.core.errors import MediaError
from polyjanus.core.files import over_limit
from polyjanus.core.modality import Modality
from polyjanus.encoders.shared.arrays import finite

Array = np.ndarray[Any, Any]
M = TypeVar("M")
C = TypeVar("C")

WIDTH, ROW, MARGIN = 960, 72, 56
"""Pixels of a drawing: all of it, one trace, the names on the left."""
MOST_TRACES = 32
MOST_SCALES = 1e6
"""How many times its scale a value may be: beyond it, the unit is another."""
INK, GREY, PAPER = (30, 60, 110), (150, 150, 150), (255, 255, 255)


class SignalModality(Modality[M, C]):
    """A modality whose medium is samples (C, T), float32, at a rate in Hz.

    What works on any of them (`patch1d`, `fsq1d`) asks for nothing but these methods.
    """

    scale: float = 1.0
    """The size that values typically have, in the units of the medium; networks see values divided by it."""

    @property
    @abstractmethod
    def channels(self) -> tuple[str, ...]:
        """Return the names of the channels that every medium has, in order."""

    @property
    @abstractmethod
    def sample_rate(self) -> float:
        """Return the rate in Hz at which networks see the signal where they do not say otherwise."""

    @abstractmethod
    def samples_of(self, media: M) -> Array:
        """Return the samples (C, T), float32."""

    @abstractmethod
    def rate_of(self, media: M) -> float:
        """Return the rate of a medium in Hz."""

    @abstractmethod
    def make(self, samples: Array, sample_rate: float) -> M:
        """Return the medium of samples (C, T) in physical units."""

    def resampled(self, media: M, sample_rate: float) -> M:
        """Return the medium at another rate; a modality that does not resample refuses one."""
        if abs(self.rate_of(media) - sample_rate) > 1e-6 * sample_rate:
            raise MediaError(
                f"the signal has {self.rate_of(media):g} Hz, not {sample_rate:g} Hz",
                where=self.name,
                hint="resample the files, or set 'sample_rate' to what they have",
            )
        return media

    def values(self, media: M, sample_rate: float | None = None) -> Array:
        """Return what a network sees: samples (C, T) at a rate, divided by the scale."""
        at_rate = self.resampled(media, sample_rate or self.sample_rate)
        values = (self.samples_of(at_rate) / np.float32(self.scale)).astype(np.float32)
        largest = float(np.abs(values).max())
        if largest > MOST_SCALES:
            raise MediaError(
                f"values up to {largest * self.scale:g} are {largest:.0e} times the 'scale' of the modality",
                where=self.name,
                hint="is the unit right? else set 'scale' to the size that values typically have",
            )
        return values

    def preview(self, media: M) -> bytes:
        """Return a PNG of the traces, one per channel, over seconds."""
        return draw_traces(self.samples_of(media), self.rate_of(media), self.channels)


def crop_span(
    total: int, sample_rate: float, start: float | None, duration: float | None, where: str
) -> tuple[int, int]:
    """Return the first sample and the one after the last of `start` and `duration`, in seconds; else a MediaError."""
    for word, value in (("start", start), ("duration", duration)):
        if value is not None and not (isinstance(value, int | float) and np.isfinite(value) and value >= 0):
            raise MediaError(f"{word!r} is {value!r}; it is a number of seconds from 0", where=where)
    first = round((start or 0.0) * sample_rate)
    last = total if duration is None else first + round(duration * sample_rate)
    seconds = f"the signal has {total / sample_rate:g} s"
    if first >= total:
        raise MediaError(f"'start' is at {first / sample_rate:g} s, {seconds}", where=where, hint="start earlier")
    if last <= first:
        raise MediaError(f"'duration' of {duration:g} s is shorter than a sample", where=where, hint="make it longer")
    if last > total:
        asked = f"{first / sample_rate:g} to {last / sample_rate:g} s"
        raise MediaError(f"{asked} asked for, {seconds}", where=where, hint="shorten 'duration', or leave it out")
    return first, last


def check_samples(samples: Array, where: str) -> Array:
    """Return samples (C, T) as float32; what is empty, no number or not finite is a MediaError."""
    if samples.ndim != 2 or not samples.size:
        raise MediaError(
            f"an array of shape {samples.shape} is no signal", where=where, hint="a signal is (channels, samples)"
        )
    return finite(samples, where)


def check_seconds(total: int, sample_rate: float, max_seconds: float, where: str) -> None:
    """Refuse a signal that is longer than its modality allows."""
    if total / sample_rate > max_seconds:
        raise MediaError(
            f"{total / sample_rate:g} s are more than {max_seconds:g}",
            where=where,
            hint=f"take a part with 'start' and 'duration', or {over_limit('max_seconds')}",
        )


def draw_traces(samples: Array, sample_rate: float, names: Sequence[str]) -> bytes:
    """Return a PNG of traces (C, T), each scaled to its own largest value, which is written beside it."""
    shown = samples[:MOST_TRACES]
    image = Image.new("RGB", (WIDTH, ROW * len(shown) + 24), PAPER)
    pencil = ImageDraw.Draw(image)
    for row, trace in enumerate(shown):
        middle = ROW * row + ROW // 2
        peak = float(np.abs(trace).max())
        name = names[row] if row < len(names) else str(row)
        pencil.text((4, middle - 14), f"{name:.8}", fill=INK)
        pencil.text((4, middle), f"±{peak:.2g}", fill=GREY)
        pencil.line([(MARGIN, middle), (WIDTH, middle)], fill=(230, 230, 230))
        reach = (ROW / 2 - 4) / (peak or 1.0)
        pencil.line([(MARGIN + x, middle - value * reach) for x, value in _line(trace)], fill=INK)
    foot = f"{samples.shape[1] / sample_rate:.4g} s at {sample_rate:g} Hz"
    hidden = len(samples) - len(shown)
    pencil.text((MARGIN, image.height - 16), foot + (f"; {hidden} more channels" if hidden else ""), fill=GREY)
    return to_png(image)


def _line(trace: Array) -> list[tuple[float, float]]:
    """Return where a trace goes, in pixels and values: every sample, or of many the least and greatest per pixel."""
    columns = WIDTH - MARGIN - 4
    if len(trace) <= columns:
        step = columns / max(len(trace) - 1, 1)
        return [(index * step, float(value)) for index, value in enumerate([*trace, *trace[:1]][: max(len(trace), 2)])]
    low, high = _envelope(trace, columns)
    return [(x, float(value)) for x, pair in enumerate(zip(high, low, strict=True)) for value in pair]


def _envelope(trace: Array, columns: int) -> tuple[Array, Array]:
    """Return the least and the greatest value of what falls into each column."""
    edges = np.linspace(0, len(trace), columns + 1).astype(int)
    starts = np.minimum(edges[:-1], len(trace) - 1)
    return np.minimum.reduceat(trace, starts), np.maximum.reduceat(trace, starts)


def to_png(image: Image.Image) -> bytes:
    """Return a picture as PNG."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
