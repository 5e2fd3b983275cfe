"""What media on a regular grid share: pictures, spectra, radar frames, maps of any sensor. No torch here."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, TypeVar

from polyjanus.core.modality import Modality

if TYPE_CHECKING:
    from polyjanus.encoders.shared.cells import GridPreparation

M = TypeVar("M")
C = TypeVar("C")


class GridModality(Modality[M, C]):
    """A modality whose medium is cells on a grid; `patch2d` and `fsq2d` work on any of them."""

    @abstractmethod
    def grid(self, *, size: int | None = None, channels: int | None = None, resize: str = "crop") -> GridPreparation:
        """Return the way to cells; `size`, `channels` and `resize` are for media whose size varies."""
