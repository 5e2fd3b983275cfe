"""One EEG recording in memory.

Shape letters: C channels, T samples.
"""

from __future__ import annotations

from dataclasses import dataclass

from polyjanus.encoders.shared.signals import Array


@dataclass(frozen=True, eq=False)
class Recording:
    """Volts (C, T), float32, at a rate in Hz, of named electrodes at positions (C, 3) in metres, NaN where unknown."""

    volts: Array
    sample_rate: float
    channels: tuple[str, ...]
    positions: Array
