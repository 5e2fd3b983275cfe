"""What generation tells while it runs."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TextDelta:
    """More text of one row."""

    row: int
    text: str


@dataclass(frozen=True)
class MediaProgress:
    """Steps of an item done so far, of the most it may take."""

    row: int
    modality: str
    step: int
    max_steps: int


@dataclass(frozen=True)
class MediaReady:
    """One finished item, decoded."""

    row: int
    modality: str
    media: Any


@dataclass(frozen=True)
class Done:
    """A row has ended; `reason` is 'end' or 'length'."""

    row: int
    reason: str


Event = TextDelta | MediaProgress | MediaReady | Done
