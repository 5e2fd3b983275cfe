"""EEG files by MNE: only the part asked for, nothing that is shorter than its header says, no silent losses."""

from __future__ import annotations

import gzip
import io
import re
import struct
import tempfile
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyjanus.core.errors import MediaError, PolyjanusError
from polyjanus.core.files import check_size, guess_content
from polyjanus.encoders.eeg.recording import Recording
from polyjanus.encoders.shared.signals import Array, check_seconds, crop_span

LOSSES = re.compile(
    r"truncat|incomplete|corrupt|fewer|not enough|mismatch|unexpected end|could not be read", re.IGNORECASE
)
"""Warnings of MNE that mean lost data; others are about names and dates."""
MAGIC = ((b"0       ", ".edf"), (b"\xffBIOSEMI", ".bdf"), (b"\x00\x00\x00\x64", ".fif"), (b"GDF", ".gdf"))
TAG = struct.Struct(">iiii")
"""Kind, type, bytes and place of the next tag of a FIF file."""
MOST_RECORD_BYTES = 61_440
EXTRA = 'pip install "polyjanus[eeg]"'
Found = tuple[Array, float, list[str], Array]


@dataclass(frozen=True)
class Part:
    """What is read of a recording, in seconds, and the limits of its modality."""

    start: float | None
    duration: float | None
    max_seconds: float
    max_bytes: int

    def span(self, total: int, rate: float, where: str) -> tuple[int, int]:
        """Return the first sample and the one after the last; too long a part is a MediaError."""
        if not (np.isfinite(rate) and rate > 0):
            raise MediaError(f"{rate} Hz is no rate", where=where)
        first, last = crop_span(total, rate, self.start, self.duration, where)
        check_seconds(last - first, rate, self.max_seconds, where)
        return first, last


def library() -> Any:
    """Return MNE, silent but for errors; where it is missing, the remedy is a MediaError."""
    try:
        import mne
    except ImportError as error:
        raise MediaError(f"EEG files need mne: {error}", hint=EXTRA) from error
    mne.set_log_level("ERROR")
    return mne


def read_bytes(content: bytes, part: Part, where: str) -> Found:
    """Return what a file in memory holds; the formats that are one file are known by their first bytes."""
    suffix = next((suffix for magic, suffix in MAGIC if content.startswith(magic)), None)
    if suffix is None:
        hint = guess_content(content, "EDF, BDF, GDF and FIF may come as bytes; give a path for others")
        raise MediaError("this is no EEG file that is known by its first bytes", where=where, hint=hint)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"bytes_raw{suffix}"
        path.write_bytes(content)
        return read_path(path, part, where)


def read_path(path: Path, part: Part, where: str) -> Found:
    """Return volts (C, T), rate, names and positions (C, 3) of the EEG channels of a file."""
    if path.suffix.lower() in (".edf", ".bdf"):
        check_edf(path, where)
    elif path.name.lower().endswith((".fif", ".fif.gz")):
        check_fif(path, part.max_bytes, where)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            raw = library().io.read_raw(path, preload=False, verbose="WARNING")  # at ERROR it never warns
            rate = float(raw.info["sfreq"])
            first, last = part.span(raw.n_times, rate, where)
            found = _channels(raw, first, last, where)
        except PolyjanusError:
            raise
        except MemoryError:
            raise
        except Exception as error:  # MNE raises whatever a broken file makes of it
            reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
            with path.open("rb") if path.is_file() else tempfile.TemporaryFile() as file:
                hint = guess_content(file.read(200), "known are EDF, BDF, FIF, BrainVision, EEGLAB, GDF and CNT")
            raise MediaError(f"the recording cannot be read: {reason}", where=where, hint=hint) from error
    lost = [str(warning.message) for warning in caught if LOSSES.search(str(warning.message))]
    if lost:
        raise MediaError(f"the recording is damaged: {lost[0][:200]}", where=where, hint="fetch or export it anew")
    return found


def _channels(raw: Any, first: int, last: int, where: str) -> Found:
    """Return the EEG channels of MNE's Raw between two samples."""
    picks = library().pick_types(raw.info, eeg=True, exclude=())
    if not len(picks):
        kinds = sorted(set(raw.get_channel_types()))
        raise MediaError(f"there are no EEG channels, only {', '.join(kinds) or 'none at all'}", where=where)
    volts = raw.get_data(picks=picks, start=first, stop=last)
    if volts.shape[1] != last - first:
        raise MediaError(f"the header claims {last - first} samples, there are {volts.shape[1]}", where=where)
    return volts, float(raw.info["sfreq"]), [raw.ch_names[i] for i in picks], _places(raw.info, picks)


def from_mne(source: Any, where: str) -> Found:
    """Return the EEG channels of MNE's Raw, of Epochs that hold one epoch, or of an Evoked."""
    mne = library()
    picks = mne.pick_types(source.info, eeg=True, exclude=())
    if not len(picks):
        raise MediaError("there are no EEG channels in it", where=where)
    volts = np.asarray(source.get_data(picks=picks))
    if volts.ndim == 3:
        if volts.shape[0] != 1:
            raise MediaError(f"it holds {volts.shape[0]} epochs, not one", where=where, hint="hand over epochs[i]")
        volts = volts[0]
    return volts, float(source.info["sfreq"]), [source.ch_names[i] for i in picks], _places(source.info, picks)


def _places(info: Any, picks: Sequence[int]) -> Array:
    """Return the positions (C, 3) of channels in metres; those that MNE does not know are zero or not a number."""
    return np.array([info["chs"][i]["loc"][:3] for i in picks], dtype=np.float32).reshape(-1, 3)


def check_edf(path: Path, where: str) -> None:
    """Compare the header of an EDF or BDF file with its size; MNE reads a shorter file without a word."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(256)
        try:
            header, records = int(head[184:192]), int(head[236:244])
            signals = int(head[252:256])
            duration = float(head[244:252])
            per_record = [int(field) for field in _fields(file, signals)]
        except (ValueError, IndexError) as error:
            hint = guess_content(head, "is it the file that its name says?")
            raise MediaError("the header of the EDF file is damaged", where=where, hint=hint) from error
    width = 3 if head[:1] == b"\xff" else 2
    record = sum(per_record) * width
    if header != 256 * (signals + 1) or not record or min(per_record) <= 0 or not duration >= 0:
        raise MediaError("the header of the EDF file is damaged", where=where, hint="export it anew")
    if records < 0:
        records = (size - header) // record
    if size < header + records * record or records == 0:
        raise MediaError(
            f"the header says {records} records of {record} bytes, {header + records * record} bytes in all;"
            f" the file has {size}",
            where=where,
            hint="it was cut off; fetch it anew",
        )


def _fields(file: Any, signals: int) -> list[bytes]:
    """Return the number of samples per record of each signal, as the header writes it."""
    if not 0 < signals < 10_000:
        raise ValueError("no signals")
    file.seek(256 + 216 * signals)
    table = file.read(8 * signals)
    return [table[8 * i : 8 * i + 8] for i in range(signals)]


def check_fif(path: Path, max_bytes: int, where: str) -> None:
    """Walk through the tags of a FIF file, which MNE follows in circles where they are damaged."""
    with path.open("rb") as file:
        if path.suffix.lower() != ".gz":
            _check_tags(file, path.stat().st_size, where)
            return
    try:
        with gzip.open(path) as packed:
            content = packed.read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise MediaError(f"the file is damaged: {error}", where=where, hint="fetch it anew") from error
    check_size(len(content), max_bytes=max_bytes, where=where, noun="recording")
    _check_tags(io.BytesIO(content), len(content), where)


def _check_tags(file: Any, size: int, where: str) -> None:
    place, seen = 0, set[int]()
    while place >= 0:
        if place in seen or place + TAG.size > size:
            raise MediaError(f"the FIF file is damaged at byte {place}", where=where, hint="fetch or export it anew")
        seen.add(place)
        file.seek(place)
        _, _, length, following = TAG.unpack(file.read(TAG.size))
        if length < 0 or place + TAG.size + length > size:
            fault = f"a tag of {length} bytes at byte {place} does not fit into the file"
            raise MediaError(fault, where=where, hint="it was cut off")
        place = place + TAG.size + length if following == 0 else following


def resample(volts: Array, sample_rate: float, new_rate: float) -> Array:
    """Return volts (C, T') at another rate, by polyphase filtering."""
    shifted = library().filter.resample(
        volts.astype(np.float64), up=new_rate, down=sample_rate, method="polyphase", verbose="ERROR"
    )
    return shifted.astype(np.float32)


def write_fif(media: Recording, path: Path) -> None:
    """Write a recording as FIF, float32."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*conform to MNE naming conventions.*")
        _raw(media).save(path, fmt="single", overwrite=True, verbose="ERROR")


def write_edf(media: Recording, path: Path) -> None:
    """Write a recording as EDF, 16 bits over the range of each channel."""
    try:
        import edfio
    except ImportError as error:
        raise MediaError(f"writing EDF needs edfio: {error}", hint=EXTRA) from error
    signals = []
    for name, volts in zip(media.channels, media.volts, strict=True):
        reach = max(float(np.abs(volts).max()) * 1e6, 1e-3)
        signals.append(
            edfio.EdfSignal(
                volts.astype(np.float64) * 1e6,
                sampling_frequency=media.sample_rate,
                label=f"EEG {name}"[:16],
                physical_dimension="uV",
                physical_range=(-float(f"{reach * 1.001:.5g}"), float(f"{reach * 1.001:.5g}")),
            )
        )
    for samples in _record_lengths(media.volts.shape):
        try:
            edfio.Edf(signals, data_record_duration=samples / media.sample_rate).write(path)
            return
        except ValueError as error:  # the duration of a record is written in eight characters
            fault = error
    raise MediaError(f"it does not fit into EDF: {fault}", where=str(path), hint="use .fif")


def _record_lengths(shape: tuple[int, ...]) -> list[int]:
    """Return lengths of records, in samples, that divide the recording and keep to EDF's 61440 bytes, longest first."""
    channels, total = shape
    lengths = [n for n in range(1, min(total, MOST_RECORD_BYTES // (2 * channels)) + 1) if total % n == 0]
    return lengths[::-1] or [total]


def _raw(media: Recording) -> Any:
    mne = library()
    info = mne.create_info(list(media.channels), media.sample_rate, "eeg")
    raw = mne.io.RawArray(media.volts.astype(np.float64), info, verbose="ERROR")
    places = {
        n: p.astype(np.float64) for n, p in zip(media.channels, media.positions, strict=True) if np.isfinite(p).all()
    }
    if places:
        raw.set_montage(mne.channels.make_dig_montage(places, coord_frame="head"), on_missing="ignore")
    return raw
