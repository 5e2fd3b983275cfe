"""The sequences of each step: rows drawn, read and compiled, a bad one replaced by another of its data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polyjanus.core.config.schema import TrainingConfig
from polyjanus.core.data.compiling import RowCompiler
from polyjanus.core.data.mixing import Draw
from polyjanus.core.data.opening import Splits
from polyjanus.core.data.quarantine import BAD_ROWS, BadRow, Quarantine, reason_of, require_fault_of_data
from polyjanus.core.data.rows import Split
from polyjanus.core.errors import DataError
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.sequence.spans import TokenSequence, without_context


@dataclass(frozen=True)
class Example:
    """What one place of a step is filled with: the row that was taken in the end, and its sequence."""

    draw: Draw
    sequence: TokenSequence


class Feed:
    """Gives a run its sequences; which rows they are made of depends on nothing but seed, stage, step and place."""

    def __init__(self, pipeline: Pipeline, config: TrainingConfig, splits: Splits, folder: Path) -> None:
        self.config, self.splits, self.tokenizer = config, splits, pipeline.tokenizer
        self.pad = self.tokenizer.require(self.tokenizer.pad, "padding")
        self.rows = RowCompiler(lambda messages: pipeline.compile(messages, is_prompt=False), config.max_tokens)
        sizes = {name: len(train) + len(held_out) for name, (train, held_out) in splits.items()}
        self.quarantine = Quarantine(folder / BAD_ROWS, config.bad_rows, sizes)

    def place(self, draw: Draw) -> str:
        """Return where a person finds the row of a draw."""
        return self.splits[draw.source][0].place(draw.index)

    def examples(self, draws: Sequence[Draw], step: int) -> list[Example]:
        """Return what fills the places of a step; `step` is the number of the step in the run, from one."""
        return [self._example(draw, step) for draw in draws]

    def sequence(self, draw: Draw) -> TokenSequence:
        """Return the sequence of one row, its context dropped as often as the settings say."""
        noise = draw.noise()
        sequence = self.rows.sequence(self.splits[draw.source][0], draw.index, noise)
        learned = [span for span in sequence.spans if span.is_learned]
        if learned and noise.random() < self.config.caption_dropout:
            bos = None if self.tokenizer.bos is None else self.tokenizer.id_of(self.tokenizer.bos)
            return without_context(sequence, learned[-1], bos=bos, pad=self.pad)
        return sequence

    def held_out(self, split: Split, limit: int, step: int) -> Iterator[TokenSequence]:
        """Yield the sequences of the first held-out rows; a bad one is left out."""
        for index in range(min(len(split), limit)):
            if self._is_known(split, index):
                continue
            try:
                sequence = self.rows.sequence(split, index, np.random.default_rng([self.config.seed, index]))
            except DataError as error:
                self._set_apart(split, index, error, step)
            else:
                yield sequence

    def _example(self, first: Draw, step: int) -> Example:
        """Return the row of a draw, or the first usable one of those that stand in for it."""
        split = self.splits[first.source][0]
        draw, attempt = first, 0
        while True:
            if not self._is_known(split, draw.index):
                try:
                    return Example(draw, self.sequence(draw))
                except DataError as error:
                    self._set_apart(split, draw.index, error, step)
            if all(self._is_known(split, index) for index in range(len(split))):
                raise DataError("none of the rows to train on can be used", where=split.name)
            attempt += 1
            draw = first.instead(attempt, len(split))

    def _is_known(self, split: Split, index: int) -> bool:
        return self.quarantine.knows(split.name, int(split.indices[index]))

    def _set_apart(self, split: Split, index: int, error: DataError, step: int) -> None:
        """Put a row in quarantine; an error that no row can cause is raised."""
        require_fault_of_data(error)
        row = int(split.indices[index])
        reason = reason_of(error, split.place(index))
        self.quarantine.add(BadRow(split.name, row, split.source.place(row), reason, step))
