"""Every row of a data set read once: how long it is, what it holds, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polyjanus.core.data.compiling import RowCompiler
from polyjanus.core.data.quarantine import reason_of, require_fault_of_data
from polyjanus.core.data.rows import Source, Split
from polyjanus.core.errors import DataError
from polyjanus.core.sequence.spans import TokenSequence, truncate


@dataclass
class SourceReport:
    """What was found in one data set."""

    name: str
    type: str
    rows: int = 0
    held_out: int = 0
    allowed: int = 0
    """Bad rows that a run puts up with."""
    max_tokens: int = 0
    error: str | None = None
    """Why the data set could not be read at all."""
    lengths: list[int] = field(default_factory=list[int])
    over: int = 0
    """Rows that are longer than `max_tokens`."""
    dropped_items: int = 0
    dropped_positions: int = 0
    learned: Counter[str] = field(default_factory=Counter[str])
    """Positions that carry loss: of text, and of each generated modality."""
    items: Counter[str] = field(default_factory=Counter[str])
    """Items of each pathway."""
    bad: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    places: Counter[str] = field(default_factory=Counter[str])

    @property
    def is_usable(self) -> bool:
        """Tell whether a run could be made of it."""
        return self.error is None and len(self.bad) <= self.allowed and len(self.bad) < sum(self.places.values())

    def positions(self) -> dict[str, int] | None:
        """Return how long rows are before they are cut."""
        if not self.lengths:
            return None
        low, middle, high, most = np.percentile(self.lengths, [0, 50, 95, 100], method="lower")
        return {"min": int(low), "median": int(middle), "p95": int(high), "max": int(most)}

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "name": self.name,
            "type": self.type,
            "error": self.error,
            "rows": self.rows,
            "held_out": self.held_out,
            "positions": self.positions(),
            "max_tokens": self.max_tokens,
            "over": {"rows": self.over, "items": self.dropped_items, "positions": self.dropped_positions},
            "learned": dict(self.learned),
            "items": dict(self.items),
            "bad": self.bad,
            "allowed": self.allowed,
            "duplicates": sorted(place for place, count in self.places.items() if count > 1),
        }


def check_rows(
    report: SourceReport, source: Source, rows: RowCompiler, *, seed: int, limit: int | None, tick: Callable[[], None]
) -> None:
    """Read the rows of a data set, all or the first `limit`, into its report; `tick` is called after each."""
    report.rows, report.max_tokens = len(source), rows.max_tokens
    every = Split(report.name, source, np.arange(len(source)))
    for index in range(min(len(source), limit or len(source))):
        place = source.place(index)
        report.places[place] += 1
        try:
            whole = rows.whole(every, index, np.random.default_rng([seed, index]))
            _add(report, whole, truncate(whole, rows.max_tokens))
            rows.cut(whole, every.place(index))
        except DataError as error:
            require_fault_of_data(error)
            report.bad.append({"row": index, "place": place, "reason": reason_of(error, every.place(index))})
        tick()


def _add(report: SourceReport, whole: TokenSequence, cut: TokenSequence) -> None:
    report.lengths.append(len(whole))
    report.items.update(f"{span.modality}.{span.pathway}" for span in whole.spans)
    report.learned["text"] += sum(cut.learned)
    for span in cut.spans:
        if span.is_learned:
            report.learned[f"{span.modality}.{span.pathway}"] += span.length
    if len(cut) < len(whole):
        report.over += 1
        report.dropped_items += len(whole.spans) - len(cut.spans)
        report.dropped_positions += len(whole) - len(cut)
