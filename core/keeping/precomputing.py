"""Every row of a pipeline's data sets run once: what frozen codecs and encoders give for its items is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from polyjanus.core.data.quarantine import reason_of, require_fault_of_data
from polyjanus.core.data.rows import Source, Split
from polyjanus.core.data.trial import row_compiler
from polyjanus.core.errors import DataError
from polyjanus.core.features import Kept
from polyjanus.core.keeping.items import ItemDigests
from polyjanus.core.keeping.keeper import path_of
from polyjanus.core.keeping.targets import Target
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.sequence.messages import MediaPart, Pathways, read_messages
from polyjanus.core.sequence.spans import Load

Known = tuple[str, bytes | None]
"""The path of the component that an item goes to, and the item's digest."""


@dataclass
class SourceRows:
    """What was met in one data set."""

    name: str
    type: str
    rows: int = 0
    read: int = 0
    allowed: int = 0
    """Bad rows that a run puts up with."""
    error: str | None = None
    """Why the data set could not be read at all."""
    unstable: int = 0
    """Rows with items that are others each time, such as augmented media: nothing is kept for these."""
    bad: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def is_usable(self) -> bool:
        """Tell whether a run could be made of it."""
        return self.error is None and len(self.bad) <= self.allowed and len(self.bad) <= max(self.read - 1, 0)

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        names = ("name", "type", "error", "rows", "read", "unstable", "bad", "allowed")
        return {name: getattr(self, name) for name in names}


class Precomputing:
    """Runs rows and fills targets; what was kept before is not computed again."""

    def __init__(self, pipeline: Pipeline, targets: Sequence[Target], batch: int) -> None:
        self.targets = {target.path: target for target in targets}
        self.batch = batch
        self.seed = pipeline.config.training.seed if pipeline.config.training else 0
        self.items = ItemDigests(pipeline.compiler.modalities)
        self.met: list[Known] = []
        """The items of the row at hand."""
        self.compiler = replace(pipeline.compiler, keeper=self)
        self.rows = row_compiler(pipeline.config, self.compiler)

    def look(self, part: MediaPart, load: Load, *, is_prompt: bool) -> tuple[Kept | None, Any]:
        """Note an item of the row at hand; return what is kept for it, and its medium where it had to be loaded."""
        path = path_of(part)
        if path not in self.targets:
            self.met.append((path, None))
            return None, None
        digest, media = self.items.of(part, load)
        self.met.append((path, digest))
        return None if digest is None else self.targets[path].find(digest), media

    def run(self, report: SourceRows, source: Source, limit: int | None) -> Iterator[int]:
        """Yield the number of each row of a data set, or of the first `limit`, after it was run."""
        every = Split(report.name, source, np.arange(len(source)))
        for index in range(min(len(source), limit or len(source))):
            try:
                report.unstable += self._run_row(every, index)
            except DataError as error:
                require_fault_of_data(error)
                reason = reason_of(error, every.place(index))
                report.bad.append({"row": index, "place": source.place(index), "reason": reason})
            report.read += 1
            yield index

    def compute(self) -> None:
        """Compute what is pending."""
        for target in self.targets.values():
            target.compute()

    def write(self) -> None:
        """Write what is computed."""
        for target in self.targets.values():
            target.write()

    def _run_row(self, every: Split, index: int) -> bool:
        """Take the items of one row; tell whether it has any that are others each time."""
        self.met = []
        sequence = self.rows.sequence(every, index, np.random.default_rng([self.seed, index]))
        mine = [(self.met[span.item], sequence.items[span.item]) for span in sequence.spans]
        mine = [(known, item) for known, item in mine if known[0] in self.targets]
        again = self._digests(every.row(index, np.random.default_rng([self.seed, index, 1]))) if mine else set[Known]()
        is_unstable = False
        for (path, digest), item in mine:
            target = self.targets[path]
            target.items += 1
            if digest is None or (path, digest) not in again:
                target.unstable += 1
                is_unstable = True
                continue
            target.take(digest, item)
            if len(target.pending) >= self.batch:
                target.compute()
        return is_unstable

    def _digests(self, row: Any) -> set[Known]:
        """Return the items of a row by what is in them."""
        compiler = self.compiler
        pathways = Pathways(frozenset(compiler.understandings), frozenset(compiler.generations))
        messages = read_messages(row["messages"], compiler.modalities, pathways)
        parts = [part for message in messages for part in message.parts if isinstance(part, MediaPart)]
        wanted = [part for part in parts if path_of(part) in self.targets]
        return {(path_of(part), self.items.of(part, compiler.load)[0]) for part in wanted}
