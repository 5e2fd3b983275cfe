"""EEG experiments as rows: stretches around the events of a BIDS folder (Pernet et al., Scientific Data 2019).

Recordings are read and filtered whole, in this process and not in the decoder's, then cut; what filtering gave is kept
in a folder of its own, so that it is done once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyjanus.core.data.rows import Row, Source
from polyjanus.core.errors import DataError, suggest
from polyjanus.encoders.eeg.continuous import Continuous, Filtering, cached
from polyjanus.encoders.eeg.reading import EXTRA, library

SUFFIXES = [".edf", ".bdf", ".vhdr", ".set"]
IGNORED = ("bad", "edge", "boundary", "new segment")
"""What descriptions begin with that mark no event of an experiment."""


@dataclass(frozen=True)
class Trial:
    """One event: its recording and subject, what is answered, and the samples that are taken."""

    recording: Continuous
    subject: str
    word: str
    first: int
    last: int

    @property
    def place(self) -> str:
        """Return where a person finds it."""
        return f"subject {self.subject}, {self.recording.file.name}, {self.first / self.recording.sample_rate:.3f} s"


class BidsRows(Source):
    """One row per event, in order of subject, file and time. Settings: BidsConfig."""

    def __init__(self, settings: Any, locate: Callable[[str], Path], where: str) -> None:
        self.settings, self.where = settings, where
        self.root, self.cache = locate(settings.path), locate(settings.cache)
        settings_of_files = Filtering(
            *(settings.l_freq, settings.h_freq, settings.notch),
            *(settings.reference, settings.bad_channels, settings.max_bytes),
        )
        recordings = [
            (path.subject, cached(Path(path.fpath), path, settings_of_files, self.cache)) for path in self._paths()
        ]
        self._check_events(recordings)
        self.trials = list(self._trials(recordings))
        self._check_left(recordings)

    def __len__(self) -> int:
        """Return the number of events whose stretch lies in their recording."""
        return len(self.trials)

    def group(self, index: int) -> str | None:
        """Return the subject of a row, who is held out whole unless trials are split."""
        return f"subject {self.trials[index].subject}" if self.settings.split == "subject" else None

    def place(self, index: int) -> str:
        """Return subject, file and time of a row."""
        return self.trials[index].place

    def row(self, index: int, noise: np.random.Generator) -> Row:
        """Return one conversation about a stretch of EEG; how it is asked for comes from `noise`."""
        trial = self.trials[index]
        name = self.settings.modality
        part = {"type": name, "eeg": trial.recording.cut(trial.first, trial.last)}
        if self.settings.task == "understand":
            questions = self.settings.questions
            asked: list[Any] = [part, questions[noise.integers(len(questions))]]
            answer: list[Any] = [trial.word]
        else:
            requests = self.settings.requests
            asked = [requests[noise.integers(len(requests))].replace("{}", trial.word)]
            answer = [part]
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        return {"messages": messages, "subject": trial.subject}

    def _paths(self) -> list[Any]:
        """Return mne-bids' paths of the recordings, in order; none at all is a DataError."""
        if not self.root.is_dir():
            raise DataError("there is no such folder", where=str(self.root), hint="relative paths start at the YAML's")
        try:
            import mne_bids
        except ImportError as error:
            raise DataError(f"BIDS needs mne-bids: {error}", where=self.where, hint=EXTRA) from error
        library()
        given = {"subjects": self.settings.subjects, "tasks": self.settings.tasks}
        wanted: dict[str, Any] = {name: list(values) for name, values in given.items() if values is not None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            paths = mne_bids.find_matching_paths(
                self.root, datatypes="eeg", suffixes="eeg", extensions=SUFFIXES, **wanted
            )
            known = {name: mne_bids.get_entity_vals(self.root, name.removesuffix("s")) for name in wanted}
        for name, values in wanted.items():
            missing = [value for value in values if value not in known[name]]
            if missing:
                raise DataError(
                    f"there is no {name.removesuffix('s')} {missing[0]!r}{suggest(missing[0], known[name])}",
                    where=str(self.root),
                )
        if not paths:
            raise DataError(
                "there are no EEG recordings in it that BIDS knows",
                where=str(self.root),
                hint="they are named sub-01/eeg/sub-01_task-x_eeg.edf, .bdf, .vhdr or .set",
            )
        return sorted(paths, key=lambda path: str(path.fpath))

    def _check_events(self, recordings: list[tuple[str, Continuous]]) -> None:
        """Refuse a name of an event that no recording has."""
        known = {name for _, recording in recordings for _, name in recording.events}
        for name in self.settings.events or {}:
            if name not in known and not any(each.startswith(f"{name}/") for each in known):
                text = f"no recording has an event {name!r}{suggest(name, known, noun='there are')}"
                raise DataError(text, where=str(self.root), hint="events are the column trial_type of events.tsv")

    def _word(self, event: str) -> str | None:
        """Return what is answered for an event, None for one that is left out."""
        if self.settings.events is None:
            return None if event.lower().startswith(IGNORED) else event
        own = event if event in self.settings.events else event.split("/")[0]  # mne-bids adds /value where they differ
        return self.settings.events.get(own)

    def _trials(self, recordings: list[tuple[str, Continuous]]) -> Iterator[Trial]:
        for subject, recording in recordings:
            rate = recording.sample_rate
            length = round((self.settings.tmax - self.settings.tmin) * rate)
            for sample, event in recording.events:
                word, first = self._word(event), sample + round(self.settings.tmin * rate)
                if word is not None and 0 <= first and first + length <= recording.samples:
                    yield Trial(recording, subject, word, first, first + length)

    def _check_left(self, recordings: list[tuple[str, Continuous]]) -> None:
        """Say how many events lie too near to an end of their recording; refuse where none is left."""
        events = sum(self._word(event) is not None for _, recording in recordings for _, event in recording.events)
        dropped = events - len(self.trials)
        window = f"{self.settings.tmin:g} to {self.settings.tmax:g} s around them"
        if not self.trials:
            raise DataError(
                f"none of {events} events is left: {window} is not in the recordings"
                if events
                else f"none of {len(recordings)} recordings has an event",
                where=str(self.root),
                hint="change tmin and tmax, or see that events.tsv has onsets in seconds",
            )
        if dropped:
            text = f"{self.where}: {dropped} of {events} events are left out, as {window} leaves their recording"
            warnings.warn(text, stacklevel=2)
