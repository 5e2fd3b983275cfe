"""Sound as samples at a rate: loading with limits, saving, showing. No torch here.

Shape letters: C channels, T samples.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from polyjanus.core.errors import MediaError
from polyjanus.core.files import check_size, find_file, guess_content, name_of
from polyjanus.encoders.audio.pictures import draw_sound
from polyjanus.encoders.shared.signals import Array, SignalModality, check_samples, check_seconds, crop_span

FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"}
SUBTYPES = {".wav": "PCM_16", ".flac": "PCM_24", ".ogg": "VORBIS", ".mp3": "MPEG_LAYER_III"}
READ_ONLY = (".aiff", ".aif", ".au", ".caf", ".oga", ".opus")
RATES = (1_000, 384_000)
"""Hz, the least and the greatest that a file may claim."""
UNKNOWN_LENGTHS = {0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF}
"""What programs that write WAV to a pipe put where the length belongs."""
MOST_CHANNELS = 64
MAGIC = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"FORM")
"""How files of sound begin."""
FULL_SCALE = 1.0


@dataclass(frozen=True, eq=False)
class Audio:
    """Samples (C, T), float32, full scale from -1 to 1, at a rate in Hz."""

    samples: Array
    sample_rate: float

    @property
    def seconds(self) -> float:
        """Return how long it lasts."""
        return self.samples.shape[1] / self.sample_rate


class AudioModality(SignalModality[Audio, Any]):
    """Sound. Media keep their own rate; what works on them resamples. The settings are an AudioConfig."""

    keys: ClassVar[tuple[str, ...]] = ("audio", "path")
    suffixes: ClassVar[tuple[str, ...]] = (*FORMATS, *READ_ONLY)
    medium = Audio

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name, settings)
        self.scale = settings.scale

    @property
    def channels(self) -> tuple[str, ...]:
        """Return the names of the channels that networks see."""
        count = self.settings.channels
        return {1: ("mono",), 2: ("left", "right")}.get(count, tuple(f"channel {i + 1}" for i in range(count)))

    @property
    def sample_rate(self) -> float:
        """Return the rate in Hz at which networks see sound."""
        return self.settings.sample_rate

    def samples_of(self, media: Audio) -> Array:
        """Return the samples (C, T) with the declared number of channels; one for many is their mean."""
        found, wanted = media.samples.shape[0], self.settings.channels
        if found == wanted:
            return media.samples
        if wanted == 1:
            return media.samples.mean(0, keepdims=True)
        if found == 1:
            return media.samples.repeat(wanted, 0)
        raise MediaError(
            f"the sound has {found} channels, not {wanted}",
            where=self.name,
            hint=f"mix it to {wanted}, or set 'channels' to {found} or 1",
        )

    def rate_of(self, media: Audio) -> float:
        """Return the rate in Hz."""
        return media.sample_rate

    def make(self, samples: Array, sample_rate: float) -> Audio:
        """Return the medium of samples (C, T)."""
        return Audio(check_samples(samples, self.name), float(sample_rate))

    def resampled(self, media: Audio, sample_rate: float) -> Audio:
        """Return the sound at another rate, low-pass filtered (torchaudio's windowed sinc)."""
        if media.sample_rate == sample_rate:
            return media
        from polyjanus.encoders.audio.sound import resample

        return Audio(resample(media.samples, media.sample_rate, sample_rate), float(sample_rate))

    def load(self, source: Any, start: float | None = None, duration: float | None = None) -> Audio:
        """Return the sound in a path, in bytes, in a pair (samples, rate) or in a dict of `array` and `sampling_rate`.

        Samples are (C, T) or (T,), whole numbers of full scale or floats from -1 to 1. Only the part between `start`
        and `duration`, in seconds, is read.
        """
        where = name_of(source, self.name)
        if isinstance(source, Audio):
            return self._cut(source.samples, source.sample_rate, start, duration, where)
        if isinstance(source, str | Path):
            path = find_file(source, max_bytes=self.settings.max_bytes, noun="sound")
            with path.open("rb") as file:
                return self._decode(file, start, duration, where)
        if isinstance(source, bytes | bytearray | memoryview):
            check_size(len(source), max_bytes=self.settings.max_bytes, where=where, noun="sound")
            return self._decode(io.BytesIO(source), start, duration, where)
        samples, rate = _pair(source, where)
        return self._cut(_from_array(samples, where), rate, start, duration, where)

    def save(self, media: Audio, path: Path) -> None:
        """Write WAV (16 bits), FLAC (24 bits), OGG or MP3, as the suffix says; what is beyond full scale is cut."""
        suffix = path.suffix.lower()
        if suffix not in FORMATS:
            hint = f"use one of {', '.join(FORMATS)}"
            raise MediaError(f"cannot write sound of suffix {path.suffix!r}", where=str(path), hint=hint)
        samples = media.samples.clip(-FULL_SCALE, FULL_SCALE).T
        library = _soundfile()
        try:
            library.write(str(path), samples, round(media.sample_rate), SUBTYPES[suffix], format=FORMATS[suffix])
        except library.LibsndfileError as error:
            hint = "WAV takes any rate and any number of channels"
            raise MediaError(f"it cannot be written: {error}", where=str(path), hint=hint) from error

    def preview(self, media: Audio) -> bytes:
        """Return a PNG of the wave and, below it, its spectrogram over seconds and kilohertz."""
        return draw_sound(media.samples, media.sample_rate)

    def example(self) -> Audio:
        """Return half a second of a rising tone with noise that is always the same."""
        rate = self.settings.sample_rate
        times = np.arange(max(64, int(0.5 * rate))) / rate
        tone = np.sin(2 * np.pi * (0.02 * rate + 0.1 * rate * times) * times)
        noise = np.random.default_rng(0).normal(size=(self.settings.channels, len(times)))
        return Audio((0.3 * tone + 0.02 * noise).astype(np.float32), float(rate))

    def _decode(self, file: Any, start: float | None, duration: float | None, where: str) -> Audio:
        library = _soundfile()
        head = file.read(64)
        _check_container(file, where)
        file.seek(0)
        try:
            with library.SoundFile(file) as sound:
                rate, total = sound.samplerate, sound.frames
                self._check_claims(sound.channels, rate, where)
                first, last = self._span(total, rate, start, duration, where)
                sound.seek(first)
                samples = sound.read(last - first, dtype="float32", always_2d=True).T
        except library.LibsndfileError as error:
            hint = guess_content(head, f"known are {', '.join(self.suffixes)}")
            if head.startswith(MAGIC):
                hint = "it is damaged or cut off; fetch it anew"
            reason = str(error).rpartition(">: ")[2]  # what libsndfile says, without Python's name of the file
            raise MediaError(f"this is no sound that can be decoded: {reason}", where=where, hint=hint) from error
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:  # soundfile on damaged headers
            raise MediaError(f"the sound is damaged: {error}", where=where, hint="make or fetch it anew") from error
        if samples.shape[1] != last - first:
            raise MediaError(
                f"the file claims {total} samples and ends after {first + samples.shape[1]}",
                where=where,
                hint="it was cut off; fetch it anew",
            )
        return Audio(check_samples(samples, where), float(rate))

    def _check_claims(self, channels: int, rate: float, where: str) -> None:
        """Refuse rates and channels that no sound has."""
        low, high = RATES
        if not low <= rate <= high:
            raise MediaError(f"{rate:g} Hz is no rate of sound", where=where, hint=f"known are {low} to {high} Hz")
        if not 0 < channels <= MOST_CHANNELS:
            raise MediaError(f"{channels} channels are more than {MOST_CHANNELS}", where=where)

    def _span(
        self, total: int, rate: float, start: float | None, duration: float | None, where: str
    ) -> tuple[int, int]:
        if total <= 0:
            raise MediaError("the sound has no samples", where=where)
        first, last = crop_span(total, rate, start, duration, where)
        check_seconds(last - first, rate, self.settings.max_seconds, where)
        return first, last

    def _cut(self, samples: Array, rate: float, start: float | None, duration: float | None, where: str) -> Audio:
        samples = check_samples(samples, where)
        self._check_claims(samples.shape[0], rate, where)
        first, last = self._span(samples.shape[1], rate, start, duration, where)
        return Audio(samples[:, first:last], float(rate))


def _soundfile() -> Any:
    """Return the library; where it is missing, the remedy is a MediaError."""
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise MediaError(f"sound files need soundfile: {error}", hint='pip install "polyjanus[audio]"') from error
    return soundfile


def _pair(source: Any, where: str) -> tuple[Array, float]:
    """Return samples and rate of what a user hands over."""
    if isinstance(source, Mapping) and {"array", "sampling_rate"} <= set(source):
        source = (source["array"], source["sampling_rate"])
    if isinstance(source, tuple) and len(source) == 2:
        samples, rate = cast("tuple[Any, Any]", source)
        if isinstance(rate, np.ndarray) or not isinstance(rate, int | float | np.number):
            samples, rate = rate, samples  # scipy.io.wavfile gives (rate, samples)
        if isinstance(rate, int | float | np.number):
            return np.asarray(samples), float(rate)
    raise MediaError(
        f"a {type(source).__name__} is no sound",
        where=where,
        hint="give a path, bytes, or (samples (channels, samples) or (samples,), rate in Hz)",
    )


def _from_array(samples: Array, where: str) -> Array:
    """Return samples (C, T), float32, from floats or whole numbers of full scale."""
    samples = samples[None] if samples.ndim == 1 else samples
    if samples.ndim == 2 and samples.shape[0] > MOST_CHANNELS and samples.shape[1] <= MOST_CHANNELS:
        raise MediaError(
            f"an array of shape {samples.shape} has its channels last", where=where, hint="transpose it: samples.T"
        )
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))
    if samples.dtype.kind == "f" and samples.size and float(np.nanmax(np.abs(samples))) > 16:
        raise MediaError(
            f"floats up to {float(np.nanmax(np.abs(samples))):g} are no sound",
            where=where,
            hint="full scale is 1; divide by the largest value that there can be",
        )
    return samples


def _check_container(file: Any, where: str) -> None:
    """Refuse what is shorter than it claims and would be read without a word: WAV and OGG."""
    file.seek(0)
    head = file.read(12)
    cut_off: str | None = None
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        cut_off = _wav_fault(file)
    elif head[:4] == b"OggS":
        cut_off = _ogg_fault(file)
    if cut_off:
        raise MediaError(f"the sound is damaged: {cut_off}", where=where, hint="it was cut off; fetch it anew")


def _wav_fault(file: Any) -> str | None:
    """Return what is wrong with the lengths in a WAV file, if anything is."""
    end = file.seek(0, io.SEEK_END)
    place = 12
    while place + 8 <= end:
        file.seek(place)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"data":
            there = end - place - 8
            if length > there and length not in UNKNOWN_LENGTHS:
                return f"the header says {length} bytes of samples, there are {there}"
            return None
        place += 8 + length + length % 2
    return "there are no samples in it"


def _ogg_fault(file: Any) -> str | None:
    """Return what is wrong with the last page of an OGG file, if anything is."""
    end = file.seek(0, io.SEEK_END)
    file.seek(max(0, end - 70_000))  # a page has at most 65307 bytes
    tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0 or len(tail) < page + 27:
        return "its last page is missing"
    segments = tail[page + 26]
    table = tail[page + 27 : page + 27 + segments]
    is_whole = len(table) == segments and len(tail) >= page + 27 + segments + sum(table)
    is_last = bool(tail[page + 5] & 4)
    return None if is_whole and is_last else "its last page is missing"
