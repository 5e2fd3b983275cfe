"""Time series: any channels over time, from NumPy, CSV and Parquet files.

Shape letters: C channels, T samples.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from polyjanus.core.errors import MediaError, suggest
from polyjanus.core.files import check_size, guess_content, name_of, read_file
from polyjanus.encoders.shared.arrays import read_npy, read_npz
from polyjanus.encoders.shared.signals import (
    Array,
    SignalModality,
    check_samples,
    check_seconds,
    crop_span,
)
from polyjanus.encoders.timeseries.tables import (
    TOLERANCE,
    check_column,
    find_jump,
    header_hint,
    parquet_library,
    read_csv,
    read_parquet,
)

TIME = ("time", "t", "timestamp", "seconds")
"""Names of a column that holds seconds and no channel."""


@dataclass(frozen=True, eq=False)
class TimeSeries:
    """Samples (C, T), float32, in the units of the modality, at a rate in Hz."""

    samples: Array
    sample_rate: float
    channels: tuple[str, ...]


class TimeSeriesModality(SignalModality[TimeSeries, Any]):
    """Signals with the channels and the rate that the YAML declares. The settings are a TimeSeriesConfig."""

    keys: ClassVar[tuple[str, ...]] = ("timeseries", "path")
    suffixes: ClassVar[tuple[str, ...]] = (".npy", ".npz", ".csv", ".parquet")
    medium = TimeSeries

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name, settings)
        self.scale = settings.scale

    @property
    def channels(self) -> tuple[str, ...]:
        """Return the declared names."""
        return self.settings.channels

    @property
    def sample_rate(self) -> float:
        """Return the declared rate in Hz."""
        return self.settings.sample_rate

    def samples_of(self, media: TimeSeries) -> Array:
        """Return the samples (C, T)."""
        return media.samples

    def rate_of(self, media: TimeSeries) -> float:
        """Return the rate in Hz."""
        return media.sample_rate

    def make(self, samples: Array, sample_rate: float) -> TimeSeries:
        """Return the medium of samples (C, T)."""
        return TimeSeries(check_samples(samples, self.name), sample_rate, self.channels)

    def load(self, source: Any, start: float | None = None, duration: float | None = None) -> TimeSeries:
        """Return the signal in a path, in bytes or in an array.

        Arrays and .npy files are (C, T) in the order of `channels`, or (T,) for one channel; .npz, .csv and .parquet
        files have one column or array per channel, by name. A column named `time` (in seconds) is compared with the
        declared rate.
        """
        where = name_of(source, self.name)
        if isinstance(source, TimeSeries):
            if source.channels != self.channels:
                raise MediaError(
                    f"the channels are {source.channels}, not {self.channels}", where=where, hint="reorder them"
                )
            samples = source.samples
            self.resampled(source, self.sample_rate)
        else:
            samples = self._in_order(self._read(source, where), where)
        samples = check_samples(samples, where)
        first, last = crop_span(samples.shape[1], self.sample_rate, start, duration, where)
        check_seconds(last - first, self.sample_rate, self.settings.max_seconds, where)
        return TimeSeries(samples[:, first:last], self.sample_rate, self.channels)

    def save(self, media: TimeSeries, path: Path) -> None:
        """Write .npy (C, T), .npz with one array per channel, or .csv and .parquet with a column `time` in seconds."""
        writers = {".npy": _write_npy, ".npz": _write_npz, ".csv": _write_csv, ".parquet": _write_parquet}
        writer = writers.get(path.suffix.lower())
        if writer is None:
            raise MediaError(
                f"cannot write time series of suffix {path.suffix!r}",
                where=str(path),
                hint=f"use one of {', '.join(writers)}",
            )
        writer(media, path)

    def example(self) -> TimeSeries:
        """Return two seconds, or as many as there may be: a sine per channel, each faster than the one before."""
        seconds = min(2.0, self.settings.max_seconds)
        times = np.arange(max(8, int(seconds * self.sample_rate))) / self.sample_rate
        rates = (1 + np.arange(len(self.channels)))[:, None]
        noise = np.random.default_rng(0).normal(size=(len(self.channels), len(times))) / 8
        samples = (np.sin(2 * np.pi * rates * times / seconds) + noise) * self.scale
        return TimeSeries(samples.astype(np.float32), self.sample_rate, self.channels)

    def _read(self, source: Any, where: str) -> Array | dict[str, Array]:
        """Return an array (C, T), or columns by name."""
        if isinstance(source, np.ndarray):
            return source[None] if source.ndim == 1 else source
        if isinstance(source, str | Path):
            content, suffix = read_file(source, max_bytes=self.settings.max_bytes, noun="signal"), Path(source).suffix
        elif isinstance(source, bytes | bytearray | memoryview):
            content, suffix = bytes(source), ""
            check_size(len(content), max_bytes=self.settings.max_bytes, where=where, noun="signal")
        else:
            raise MediaError(
                f"a {type(source).__name__} is no time series",
                where=where,
                hint="give a path, bytes or a NumPy array (channels, samples)",
            )
        limit = self.settings.max_bytes
        if content.startswith(b"\x93NUMPY"):
            array = read_npy(content, where, max_bytes=limit)
            return array[None] if array.ndim == 1 else array
        if content.startswith(b"PK"):
            return read_npz(content, where, max_bytes=limit)
        if content.startswith(b"PAR1"):
            return read_parquet(content, where)
        if suffix.lower() not in ("", ".csv", ".txt"):
            hint = guess_content(content, f"known are {', '.join(self.suffixes)}")
            raise MediaError(f"this is no {suffix} file", where=where, hint=hint)
        return read_csv(content, where)

    def _in_order(self, found: Array | dict[str, Array], where: str) -> Array:
        """Return samples (C, T) in the order of the declared channels."""
        if isinstance(found, np.ndarray):
            if found.ndim != 2 or found.shape[0] != len(self.channels):
                turned = found.ndim == 2 and found.shape[1] == len(self.channels)
                raise MediaError(
                    f"an array of shape {found.shape}; expected ({len(self.channels)}, samples) for {self.channels}",
                    where=where,
                    hint="transpose it" if turned else "say which channels it has under 'channels'",
                )
            return found
        missing = [name for name in self.channels if name not in found]
        if missing:
            words = f"there is no channel {missing[0]!r}{suggest(missing[0], found, noun='here')}"
            raise MediaError(words, where=where, hint=header_hint(list(found)))
        for name in self.channels:
            check_column(name, found[name], where)
        lengths = {found[name].shape for name in self.channels}
        if len(lengths) > 1 or len(next(iter(lengths))) != 1:
            raise MediaError(f"channels of the shapes {sorted(lengths)}; each is (samples,)", where=where)
        self._check_times(found, where)
        return np.stack([found[name] for name in self.channels])

    def _check_times(self, found: dict[str, Array], where: str) -> None:
        """Compare a column of seconds with the declared rate."""
        bare = {name: name.lower().split("(")[0].split("[")[0].strip() for name in found}  # `Time (s)` is time
        names = [name for name in found if bare[name] in TIME and name not in self.channels]
        if not names or len(found[names[0]]) < 2:
            return
        times = found[names[0]]
        steps = np.diff(times.astype(np.float64)) if times.dtype.kind in "fiu" else np.array([np.nan])
        if not (np.abs(steps * self.sample_rate - 1) < TOLERANCE).all():
            raise self._uneven(names[0], times, steps, where)

    def _uneven(self, name: str, times: Array, steps: Array, where: str) -> MediaError:
        """Return what is wrong with a column of seconds: another rate, or a jump."""
        usual = float(np.median(steps)) if np.isfinite(steps).all() else float("nan")
        if usual > 0 and abs(usual * self.sample_rate - 1) < TOLERANCE:
            fault = f"the column {name!r} jumps {find_jump(times, steps, 1 / self.sample_rate)}"
            return MediaError(fault, where=where, hint="fill the gap, or cut the recording there")
        fault = f"the column {name!r} has steps of {usual:g} s, {1 / usual if usual else 0:g} Hz;"
        fault += f" the modality declares {self.sample_rate:g} Hz"
        is_milliseconds = abs(usual / 1000 * self.sample_rate - 1) < TOLERANCE
        hint = "it looks like milliseconds: divide by 1000" if is_milliseconds else "resample to an even rate"
        return MediaError(fault, where=where, hint=f"{hint}, or rename {name!r} if it holds no seconds")


def _write_npy(media: TimeSeries, path: Path) -> None:
    np.save(path, media.samples)


def _write_npz(media: TimeSeries, path: Path) -> None:
    np.savez(path, **dict(zip(media.channels, media.samples, strict=True)))


def _columns(media: TimeSeries) -> dict[str, Array]:
    times = np.arange(media.samples.shape[1]) / media.sample_rate
    return {"time": times, **dict(zip(media.channels, media.samples, strict=True))}


def _write_csv(media: TimeSeries, path: Path) -> None:
    columns = _columns(media)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))


def _write_parquet(media: TimeSeries, path: Path) -> None:
    import pyarrow

    parquet_library().write_table(pyarrow.table(_columns(media)), path)
