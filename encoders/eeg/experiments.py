"""Where rows of EEG come from, and who judges answers: settings. Importing this loads neither torch nor MNE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from polyjanus.core.settings import BuildContext, Floats, MetricConfig, SourceConfig

if TYPE_CHECKING:
    from polyjanus.encoders.eeg.bids import BidsRows
    from polyjanus.encoders.eeg.judges import MadeTargets, NamedTargets
    from polyjanus.encoders.eeg.ssvep import SsvepRows

Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]


class BidsConfig(SourceConfig):
    """Stretches of EEG around the events of an experiment, a BIDS folder; subjects are held out whole."""

    requires = ("mne", "mne_bids")
    extra = "eeg"

    type: Literal["bids"]
    path: str = Field(description="the folder; ./ and ../ start at the YAML's folder")
    task: Literal["understand", "generate"] = Field(description="whether EEG is asked about, or asked for")
    tasks: Names | None = Field(default=None, description="BIDS tasks to take; all when absent")
    subjects: Names | None = Field(default=None, description="subjects to take, without 'sub-'; all when absent")
    events: dict[str, str] | None = Field(
        default=None, description="trial_type of events.tsv: the text for it; all, by their names, when absent"
    )
    tmin: float = Field(default=0.0, description="seconds from the event to where a stretch begins")
    tmax: float = Field(default=2.0, description="seconds from the event to where it ends")
    questions: Names = Field(default=("What is this?",), description="asked about EEG, one of them at random")
    requests: Names = Field(default=("EEG: {}",), description="asking for EEG; {} is the text of the event")
    modality: str = Field(default="eeg", description="name of the modality of EEG in this YAML")
    l_freq: float | None = Field(default=None, gt=0, description="Hz; what is slower is filtered out")
    h_freq: float | None = Field(default=None, gt=0, description="Hz; what is faster is filtered out")
    notch: Floats = Field(default=(), description="Hz that are filtered out alone, such as [50] for the mains")
    reference: Literal["none", "average"] = Field(default="none", description="'average' subtracts the mean electrode")
    bad_channels: Literal["interpolate", "drop", "keep"] = Field(
        default="interpolate", description="what becomes of the channels that channels.tsv calls bad"
    )
    split: Literal["subject", "trial"] = Field(
        default="subject", description="what validation holds out: 'trial' puts one person on both sides"
    )
    cache: str = Field(default="~/.cache/polyjanus/bids", description="folder for recordings that are filtered")
    max_bytes: int = Field(default=4_000_000_000, gt=0, description="bytes of a file, at most")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.tmax <= self.tmin:
            text = f"a stretch from tmin {self.tmin:g} to tmax {self.tmax:g} has no length"
            raise PydanticCustomError("tmax", "{text}", {"text": text})
        if self.l_freq is not None and self.h_freq is not None and self.l_freq >= self.h_freq:
            text = f"l_freq {self.l_freq:g} is not below h_freq {self.h_freq:g}"
            raise PydanticCustomError("l_freq", "{text}", {"text": text})
        if self.task == "generate" and not all("{}" in request for request in self.requests):
            raise PydanticCustomError("requests", "every request has a {} where the text of the event goes")
        return self

    def build(self, context: BuildContext) -> BidsRows:
        """Return the rows; recordings that are not in the cache are read and filtered."""
        from polyjanus.encoders.eeg.bids import BidsRows

        return BidsRows(self, context.locate_file, context.path)


class SsvepConfig(SourceConfig):
    """Simulated EEG of people who look at one of four flickering targets; people are held out whole."""

    type: Literal["ssvep"]
    task: Literal["name", "make"] = Field(description="'name' asks which target it is, 'make' asks for EEG")
    rows: int = Field(default=2000, gt=0, description="recordings, each with noise of its own at every step")
    people: int = Field(default=40, gt=0, description="people who take turns")
    seconds: float = Field(default=2.0, ge=0.5, description="of one recording, at 200 Hz of 6 electrodes")

    def build(self, context: BuildContext) -> SsvepRows:
        """Return the rows."""
        from polyjanus.encoders.eeg.ssvep import SsvepRows

        return SsvepRows(self.task, self.rows, self.people, self.seconds)


class SsvepNamedConfig(MetricConfig):
    """How many targets are named rightly from simulated EEG of unseen people, by exact match."""

    type: Literal["ssvep_named"]

    def build(self, context: BuildContext) -> NamedTargets:
        """Return the metric."""
        from polyjanus.encoders.eeg.judges import NamedTargets

        return NamedTargets()


class SsvepMadeConfig(MetricConfig):
    """In how much of the EEG made on request canonical correlation finds the flicker that was asked for."""

    type: Literal["ssvep_made"]

    def build(self, context: BuildContext) -> MadeTargets:
        """Return the metric."""
        from polyjanus.encoders.eeg.judges import MadeTargets

        return MadeTargets()
