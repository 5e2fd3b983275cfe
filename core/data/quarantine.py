"""Rows that cannot be used: each is listed once in the run's folder and counted against what the settings allow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from polyjanus.core.checkpoints.atomic import write_whole
from polyjanus.core.config.schema import BadRowsConfig
from polyjanus.core.errors import DataError, PluginError, PolyjanusError, WiringError

BAD_ROWS = "bad_rows.jsonl"
FAULTS_OF_CODE = (
    *(TypeError, AttributeError, NameError, NotImplementedError, AssertionError, ImportError),
    *(MemoryError, RecursionError, PluginError, WiringError),
)
"""What says that a plugin or the pipeline is wrong and not a row: such an error is never put down to the data."""

_BEFORE = "`polyjanus data check` finds all of them before a run"


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: its data set and number there, where a person finds it, why, and who met it when."""

    source: str
    row: int
    place: str
    reason: str
    step: int


def is_fault_of_data(error: BaseException) -> bool:
    """Tell whether an error, and all that caused it, may come of a bad row."""
    return not any(isinstance(each, FAULTS_OF_CODE) for each in _chain(error))


def require_fault_of_data(error: DataError) -> None:
    """Raise an error that no row can cause as what it is."""
    if not is_fault_of_data(error):
        hint = "no row is to blame but a plugin or the pipeline; --debug shows where"
        raise PluginError(error.message, where=error.where, hint=hint) from error


def reason_of(error: Exception, place: str) -> str:
    """Return what is wrong with a row in one line, without the place that stands beside it."""
    text = str(error)
    if isinstance(error, PolyjanusError) and error.where == place:
        text = f"{error.message}\n{error.hint}" if error.hint else error.message
    for known in (place, place.partition(": ")[2]):  # with the name of the data set, and without
        text = text.removeprefix(f"{known}: ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(lines) or type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


class Quarantine:
    """The bad rows of one run; `sizes` are the rows of each whole data set.

    Of several processes each writes a file of its own, and knows what stands in those of the others.
    """

    def __init__(self, file: Path, config: BadRowsConfig, sizes: Mapping[str, int]) -> None:
        self.file, self.config, self.sizes = file, config, dict(sizes)
        self._known: dict[tuple[str, int], BadRow] = {}

    def restore(self, step: int) -> None:
        """Know what the run knew after that step; what it wrote later, or wrote by half, goes from the file."""
        self._known = {(bad.source, bad.row): bad for bad in _read(self.file) if bad.step <= step}
        if self.file.is_file():
            write_whole(self.file, "".join(_line(bad) for bad in self))

    def gather(self) -> None:
        """Know what the files of the other processes list."""
        for file in sorted(self.file.parent.glob(f"{Path(BAD_ROWS).stem}*.jsonl")):
            for bad in _read(file) if file != self.file else ():
                self._known.setdefault((bad.source, bad.row), bad)

    def knows(self, source: str, row: int) -> bool:
        """Tell whether a row is known to be bad."""
        return (source, row) in self._known

    def count(self, source: str) -> int:
        """Return the bad rows of one data set."""
        return sum(name == source for name, _ in self._known)

    def counts(self) -> dict[str, int]:
        """Return the bad rows of each data set that has any."""
        found = {name: self.count(name) for name in self.sizes}
        return {name: count for name, count in found.items() if count}

    def allowed(self, source: str) -> int:
        """Return how many bad rows of a data set the settings put up with."""
        return self.config.allowed(self.sizes[source])

    def add(self, bad: BadRow) -> None:
        """List a row; a DataError says that its data set now has more bad ones than the settings allow."""
        if self.knows(bad.source, bad.row):
            return
        self._known[bad.source, bad.row] = bad
        with self.file.open("a", encoding="utf-8") as file:
            file.write(_line(bad))
        count, allowed = self.count(bad.source), self.allowed(bad.source)
        if count <= allowed:
            return
        if not allowed:
            raise DataError(
                bad.reason,
                where=f"{bad.source}: {bad.place}",
                hint=f"mend the row, or allow for some: training.bad_rows; {_BEFORE}",
            )
        raise DataError(
            f"{count} rows of {self.sizes[bad.source]} are bad, more than the {allowed} that training.bad_rows allows;"
            f" the last is {bad.place}: {bad.reason}",
            where=bad.source,
            hint=f"all are in {self.file}; mend or remove them, or raise training.bad_rows.rate; {_BEFORE}",
        )

    def __len__(self) -> int:
        """Return the number of bad rows."""
        return len(self._known)

    def __iter__(self) -> Iterator[BadRow]:
        """Yield the bad rows in the order in which they were met."""
        return iter(self._known.values())


def _read(file: Path) -> Iterator[BadRow]:
    """Yield what a file lists; a line that was cut off is passed over."""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else ():
        try:
            yield BadRow(**json.loads(line))
        except (ValueError, TypeError):
            continue


def _line(bad: BadRow) -> str:
    fields: dict[str, Any] = asdict(bad)
    return json.dumps(fields, ensure_ascii=False) + "\n"
