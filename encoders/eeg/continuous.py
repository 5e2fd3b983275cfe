"""Whole recordings of a BIDS folder: read by mne-bids, filtered, kept in a cache, and cut from it.

Shape letters: C channels, T samples.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from polyjanus.core.errors import DataError, MediaError, PolyjanusError
from polyjanus.core.files import check_size
from polyjanus.encoders.eeg.names import normalise, positions_of
from polyjanus.encoders.eeg.reading import LOSSES, check_edf, from_mne, library
from polyjanus.encoders.eeg.recording import Recording

VERSION = 1
"""Of what stands in the cache; another one is made anew."""
ORIGIN = (0.0, 0.0, 0.04)
"""The middle of the head in metres, for interpolation."""
Events = tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Filtering:
    """What is done to a whole recording, in this order: band and notch filters, bad channels, reference."""

    l_freq: float | None
    h_freq: float | None
    notch: tuple[float, ...]
    reference: str
    bad_channels: str
    max_bytes: int


@dataclass(frozen=True)
class Continuous:
    """A filtered recording in the cache: what it was made of, and its events as (sample, description)."""

    file: Path
    cache: Path
    sample_rate: float
    channels: tuple[str, ...]
    samples: int
    events: Events

    def cut(self, first: int, last: int) -> Recording:
        """Return the part between two samples; only it is read."""
        try:
            with safe_open(self.cache, framework="numpy") as tensors:
                volts, places = tensors.get_slice("volts")[:, first:last], tensors.get_tensor("positions")
        except (OSError, SafetensorError) as error:
            hint = "was the cache emptied while it was in use? start again"
            raise DataError(
                f"the filtered recording cannot be read: {error}", where=str(self.cache), hint=hint
            ) from error
        return Recording(np.ascontiguousarray(volts), self.sample_rate, self.channels, places)


def cached(file: Path, bids_path: Any, filtering: Filtering, folder: Path) -> Continuous:
    """Return a filtered recording, out of the cache where it is there; a damaged file is a DataError that names it."""
    where = f"{file} (subject {bids_path.subject})"
    target = folder / f"{file.stem}-{_key(file, Path(bids_path.root), filtering)}.safetensors"
    known = _open(file, target)
    if known is not None:
        return known
    try:
        check_size(file.stat().st_size, max_bytes=filtering.max_bytes, where=where, noun="recording")
        if file.suffix.lower() in (".edf", ".bdf"):
            check_edf(file, where)
        raw = _read(bids_path, where)
        events = _events(raw)
        volts, rate, names, places = from_mne(_filtered(raw, filtering, where), where)
        _write(target, np.asarray(volts, np.float32), places, {"rate": rate, "channels": names, "events": events})
    except MediaError as error:
        raise DataError(error.message, where=where, hint=error.hint) from error
    except PolyjanusError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # MNE raises whatever a broken file makes of it
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        hint = "export it anew, or leave its subject out with 'subjects'"
        raise DataError(f"the recording cannot be used: {reason}", where=where, hint=hint) from error
    found = _open(file, target)
    if found is None:
        raise DataError("the filtered recording was written and cannot be read", where=str(target))
    return found


def _key(file: Path, root: Path, filtering: Filtering) -> str:
    """Return what names a filtered recording: its settings, and all files that have a say in it."""
    folders = [file.parent, *(each for each in file.parent.parents if each.is_relative_to(root))]
    files = sorted(each for folder in folders for each in folder.iterdir() if each.is_file())
    facts = [(str(each), each.stat().st_size, each.stat().st_mtime_ns) for each in files]
    text = json.dumps([VERSION, library().__version__, str(file), facts, asdict(filtering)])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _open(file: Path, target: Path) -> Continuous | None:
    """Return what the cache has, None where it has nothing or something damaged."""
    try:
        with safe_open(target, framework="numpy") as tensors:
            facts = json.loads(tensors.metadata()["facts"])
            samples = tensors.get_slice("volts").get_shape()[1]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
    events = tuple((int(sample), str(name)) for sample, name in facts["events"])
    return Continuous(file, target, float(facts["rate"]), tuple(facts["channels"]), samples, events)


def _write(target: Path, volts: Any, places: Any, facts: dict[str, Any]) -> None:
    """Write a filtered recording, whole or not at all."""
    draft: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=target.parent, suffix=".draft")
        os.close(handle)
        tensors = {"volts": np.ascontiguousarray(volts), "positions": np.ascontiguousarray(places, np.float32)}
        save_file(tensors, draft, metadata={"facts": json.dumps(facts)})
        os.replace(draft, target)
    except (OSError, SafetensorError) as error:
        if draft:
            with suppress(OSError):
                os.unlink(draft)
        hint = "name a folder with room that you may write to under 'cache'"
        raise DataError(f"the cache cannot be written: {error}", where=str(target.parent), hint=hint) from error


def _read(bids_path: Any, where: str) -> Any:
    """Return MNE's Raw with the events, channel types, bad channels and positions that its sidecar files tell."""
    import mne_bids

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        raw = mne_bids.read_raw_bids(bids_path, verbose="WARNING")  # at ERROR it would not warn at all
        raw.load_data(verbose="WARNING")
    lost = [str(warning.message) for warning in caught if LOSSES.search(str(warning.message))]
    if lost:
        raise MediaError(f"the recording is damaged: {lost[0][:200]}", where=where, hint="fetch or export it anew")
    return raw


def _events(raw: Any) -> list[tuple[int, str]]:
    """Return sample and description of every event, in order of time."""
    rate = float(raw.info["sfreq"])
    shift = raw.first_time if raw.annotations.orig_time is not None else 0.0
    found = zip(raw.annotations.onset, raw.annotations.description, strict=True)
    return sorted((round((float(onset) - shift) * rate), str(name)) for onset, name in found)


def _filtered(raw: Any, filtering: Filtering, where: str) -> Any:
    """Return the EEG channels of a recording, filtered whole."""
    highest = float(raw.info["sfreq"]) / 2
    for key, frequencies in (
        ("h_freq", [filtering.h_freq]),
        ("notch", filtering.notch),
        ("l_freq", [filtering.l_freq]),
    ):
        if any(frequency is not None and frequency >= highest for frequency in frequencies):
            raise DataError(
                f"{key} {max(f for f in frequencies if f is not None):g} Hz is not below {highest:g} Hz,"
                f" half the rate of the recording",
                where=where,
                hint=f"set {key!r} below {highest:g}, or leave it out",
            )
    raw.pick("eeg", exclude=[], verbose="ERROR")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*filter_length.*longer than the signal.*")
        if filtering.l_freq is not None or filtering.h_freq is not None:
            raw.filter(filtering.l_freq, filtering.h_freq, verbose="WARNING")
        if filtering.notch:
            raw.notch_filter(list(filtering.notch), verbose="WARNING")
    _mend(raw, filtering.bad_channels)
    if filtering.reference == "average":
        raw.set_eeg_reference("average", verbose="ERROR")
    return raw


def _mend(raw: Any, bad_channels: str) -> None:
    """Interpolate or drop the bad channels; where the folder has no positions, those of the 10-20 system are taken."""
    placed = [np.isfinite(channel["loc"][:3]).all() and channel["loc"][:3].any() for channel in raw.info["chs"]]
    if not any(placed):
        table = dict(zip(raw.ch_names, positions_of([normalise(name) for name in raw.ch_names]), strict=True))
        known = {name: place.astype(np.float64) for name, place in table.items() if np.isfinite(place).all()}
        montage = library().channels.make_dig_montage(known, coord_frame="head")
        raw.set_montage(montage, on_missing="ignore", verbose="ERROR")
    if bad_channels == "interpolate":
        raw.interpolate_bads(reset_bads=True, origin=ORIGIN, verbose="ERROR")
    elif bad_channels == "drop":
        raw.drop_channels(list(raw.info["bads"]))
