"""EEG in volts: recordings with named electrodes, read by MNE, checked against what their headers claim.

Shape letters: C channels, T samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from polyjanus.core.errors import MediaError, WiringError, suggest
from polyjanus.core.files import check_size, find_file, name_of
from polyjanus.encoders.eeg.names import is_known, known_positions, normalise, positions_of
from polyjanus.encoders.eeg.pictures import draw_recording
from polyjanus.encoders.eeg.reading import Part, read_bytes, read_path, write_edf, write_fif
from polyjanus.encoders.eeg.recording import Recording as Recording
from polyjanus.encoders.shared.signals import Array, SignalModality, check_samples

QUIETEST, LOUDEST = 1e-7, 1e-3
"""Volts: the standard deviation that half of the channels of scalp EEG have at least, and at most."""
DIVISORS = {"microvolts": 1e6, "millivolts": 1e3, "nanovolts": 1e9}
"""How many of a unit are a volt."""
ALONE = (".edf", ".bdf", ".gdf", ".nedf")
"""Formats of one file; headers of others name further files."""
EXAMPLE = ("Fp1", "Fp2", "C3", "C4", "P7", "P8", "O1", "O2")
ALPHA_HZ = 10.0


class EegModality(SignalModality[Recording, Any]):
    """EEG. Media keep their own rate and electrodes; networks see those that the YAML names. Settings: EegConfig."""

    keys: ClassVar[tuple[str, ...]] = ("eeg", "path")
    suffixes: ClassVar[tuple[str, ...]] = (
        *(".edf", ".fif", ".bdf", ".gdf", ".vhdr", ".set", ".cnt", ".mff", ".nedf", ".mat"),
        ".fif.gz",
    )
    medium = Recording

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name, settings)
        self.scale = settings.scale

    @property
    def channels(self) -> tuple[str, ...]:
        """Return the electrodes that networks of a fixed montage see; without any that is a WiringError."""
        if self.settings.channels is None:
            raise WiringError(
                "this needs a fixed montage",
                paths=[self.name],
                hint="list the electrodes under 'channels' of the modality; eeg_patch and labram take any",
            )
        return self.settings.channels

    @property
    def sample_rate(self) -> float:
        """Return the rate in Hz at which networks see EEG."""
        return self.settings.sample_rate

    def samples_of(self, media: Recording) -> Array:
        """Return the volts (C, T) of the declared electrodes in their order, or of all where none are declared."""
        return self.chosen(media).volts

    def chosen(self, media: Recording) -> Recording:
        """Return the recording with the declared electrodes, in their order, or as it is where none are declared."""
        wanted = self.settings.channels
        if wanted is None or wanted == media.channels:
            return media
        missing = [name for name in wanted if name not in media.channels]
        if missing:
            raise MediaError(
                f"electrode {missing[0]!r} is not among the {len(media.channels)} of the recording"
                f"{suggest(missing[0], media.channels, noun='there are')}",
                where=self.name,
                hint="take it out of 'channels' of the modality, or interpolate it first",
            )
        order = [media.channels.index(name) for name in wanted]
        return Recording(media.volts[order], media.sample_rate, wanted, media.positions[order])

    def rate_of(self, media: Recording) -> float:
        """Return the rate in Hz."""
        return media.sample_rate

    def make(self, samples: Array, sample_rate: float) -> Recording:
        """Return the medium of volts (C, T) of the declared electrodes."""
        volts = check_samples(samples, self.name)
        return Recording(volts, float(sample_rate), self.channels, positions_of(self.channels))

    def resampled(self, media: Recording, sample_rate: float) -> Recording:
        """Return the recording at another rate, low-pass filtered (polyphase, by MNE)."""
        if media.sample_rate == sample_rate:
            return media
        from polyjanus.encoders.eeg.reading import resample

        volts = resample(media.volts, media.sample_rate, sample_rate)
        return Recording(volts, float(sample_rate), media.channels, media.positions)

    def load(self, source: Any, start: float | None = None, duration: float | None = None) -> Recording:
        """Return the recording in a path, in bytes, in MNE's Raw or one epoch, or in (volts, rate, names).

        Only the part between `start` and `duration`, in seconds, is read. Values are volts; what can be no EEG in volts
        is refused.
        """
        where = name_of(source, self.name)
        part = Part(start, duration, self.settings.max_seconds, self.settings.max_bytes)
        if isinstance(source, str | Path):
            path = Path(source)
            if not str(source).rstrip("/").endswith(".mff"):  # which is a folder
                path = find_file(source, max_bytes=self.settings.max_bytes, noun="recording")
            found = read_path(path, part, where)
        elif isinstance(source, bytes | bytearray | memoryview):
            check_size(len(source), max_bytes=self.settings.max_bytes, where=where, noun="recording")
            found = read_bytes(bytes(source), part, where)
        else:
            found = self._from_object(source, part, where)
        return self.chosen(self._checked(*found, where))

    def save(self, media: Recording, path: Path) -> None:
        """Write EDF (16 bits per channel's own range, within 0.01 % of it) or FIF (float32)."""
        name = path.name.lower()
        if name.endswith((".fif", ".fif.gz")):
            write_fif(media, path)
        elif name.endswith(".edf"):
            write_edf(media, path)
        else:
            raise MediaError(f"cannot write EEG of suffix {path.suffix!r}", where=str(path), hint="use .edf or .fif")

    def preview(self, media: Recording) -> bytes:
        """Return a PNG of the traces in microvolts, and of the head with the amplitude of each electrode."""
        return draw_recording(media.volts, media.sample_rate, media.channels, media.positions)

    def example(self) -> Recording:
        """Return two seconds of 10 Hz that is strongest at the back, over noise that is always the same."""
        names = self.settings.channels or EXAMPLE
        positions = positions_of(names)
        times = np.arange(int(2 * self.sample_rate)) / self.sample_rate
        back = np.nan_to_num(0.5 - positions[:, 1:2] / 0.2, nan=0.5)
        noise = np.random.default_rng(0).normal(size=(len(names), len(times)))
        volts = 2e-5 * back * np.sin(2 * np.pi * ALPHA_HZ * times) + 5e-6 * noise
        return Recording(volts.astype(np.float32), float(self.sample_rate), tuple(names), positions)

    def files_of(self, path: Path) -> Sequence[Path] | None:
        """Return the file alone where its format has no others beside it."""
        return (path,) if path.suffix.lower() in ALONE else None

    def accepts(self, source: Any) -> bool:
        """Tell whether an object is a recording, or MNE's Raw or Epochs."""
        return isinstance(source, Recording) or _is_of_mne(source)

    def _from_object(self, source: Any, part: Part, where: str) -> tuple[Array, float, Sequence[str], Array | None]:
        """Return volts, rate, names and positions of an object in memory."""
        if isinstance(source, Recording):
            volts, rate, names, places = source.volts, source.sample_rate, source.channels, source.positions
        elif _is_of_mne(source):
            from polyjanus.encoders.eeg.reading import from_mne

            volts, rate, names, places = from_mne(source, where)
        else:
            volts, rate, names, places = _fields(source, where)
        volts = check_samples(volts, where)
        first, last = part.span(volts.shape[1], rate, where)
        return volts[:, first:last], rate, names, places

    def _checked(self, volts: Array, rate: float, names: Sequence[str], places: Array | None, where: str) -> Recording:
        """Return the recording, its names normalised, its electrodes known or placed, its scale that of EEG."""
        volts = check_samples(volts, where)
        if len(names) != volts.shape[0]:
            raise MediaError(f"{volts.shape[0]} channels have {len(names)} names", where=where)
        normal = [normalise(str(name)) for name in names]
        keep = self._kept(names, normal, places, where)
        normal, volts = [normal[i] for i in keep], volts[keep]
        table = positions_of(normal)
        given = np.full_like(table, np.nan) if places is None else np.asarray(places, dtype=np.float32)[keep]
        usable = np.isfinite(given).all(1) & (np.abs(given).sum(1) > 0)
        positions = np.where(usable[:, None], given, table)
        if self.settings.check_scale:
            _check_scale(volts, where)
        return Recording(volts, float(rate), tuple(normal), positions)

    def _kept(self, names: Sequence[str], normal: Sequence[str], places: Array | None, where: str) -> list[int]:
        """Return which channels are kept: the declared ones, or all, of which each must be known or have a place."""
        twice = sorted({name for name in normal if normal.count(name) > 1})
        wanted = self.settings.channels
        if twice and (wanted is None or twice[0] in wanted):
            raise MediaError(f"two channels mean the electrode {twice[0]!r}", where=where, hint="drop or rename one")
        if wanted is not None:
            has_all = set(wanted) <= set(normal)  # else the error will say what there is
            return [i for i, name in enumerate(normal) if name in wanted or not has_all]
        for i, name in enumerate(normal):
            has_place = places is not None and bool(np.isfinite(places[i]).all()) and bool(np.abs(places[i]).sum())
            if not is_known(name) and not has_place:
                raise MediaError(
                    f"electrode {names[i]!r} is unknown and has no position{suggest(name, known_positions())}",
                    where=where,
                    hint="name the electrodes to use under 'channels' of the modality, or set a montage in the file",
                )
        return list(range(len(normal)))


def _check_scale(volts: Array, where: str) -> None:
    """Refuse what can be no scalp EEG in volts: volts taken for microvolts are the usual mistake."""
    spread = float(np.median(volts.std(1)))
    if volts.shape[1] < 2 or QUIETEST <= spread <= LOUDEST:
        return
    if spread == 0:
        raise MediaError("the recording is flat", where=where, hint="is the amplifier connected, the file whole?")
    factor = next(
        (word for word, divisor in DIVISORS.items() if QUIETEST <= spread / divisor <= LOUDEST),
        None,
    )
    reason = (
        f"they look like {factor}; divide by {DIVISORS[factor]:g} to get volts"
        if factor
        else "scalp EEG has 0.1 to 1000 microvolts"
    )
    raise MediaError(
        f"channels vary by {spread:g} V (median standard deviation)",
        where=where,
        hint=f"{reason}, or set 'check_scale: false'",
    )


def _fields(source: Any, where: str) -> tuple[Array, float, Sequence[str], Array | None]:
    """Return volts, rate, names and positions of a tuple or a dict."""
    if isinstance(source, Mapping):
        block = cast("Mapping[str, Any]", source)
        source = tuple(block.get(key) for key in ("volts", "sample_rate", "channels", "positions"))
    if isinstance(source, tuple) and len(source) in (3, 4) and all(entry is not None for entry in source[:3]):
        volts, rate, names, *places = cast("tuple[Any, ...]", source)
        return (
            np.asarray(volts),
            float(rate),
            list(names),
            None if not places or places[0] is None else np.asarray(places[0]),
        )
    raise MediaError(
        f"a {type(source).__name__} is no recording",
        where=where,
        hint="give a path, bytes, MNE's Raw, or (volts (channels, samples), rate in Hz, names of the electrodes)",
    )


def _is_of_mne(source: Any) -> bool:
    return type(source).__module__.split(".")[0] == "mne" and hasattr(source, "info")
