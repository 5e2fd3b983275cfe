"""From a row of a data set to the sequence that is learned; every error names the row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from polyjanus.core.data.rows import Split
from polyjanus.core.errors import DataError, PluginError
from polyjanus.core.sequence.spans import TokenSequence, truncate


@dataclass(frozen=True)
class RowCompiler:
    """Reads rows and compiles them; `compile` turns messages into a sequence that is learned."""

    compile: Callable[[Any], TokenSequence]
    max_tokens: int

    def sequence(self, split: Split, index: int, noise: np.random.Generator) -> TokenSequence:
        """Return the sequence of a row, cut to `max_tokens`; a DataError names a row that cannot be learned from."""
        return self.cut(self.whole(split, index, noise), split.place(index))

    def whole(self, split: Split, index: int, noise: np.random.Generator) -> TokenSequence:
        """Return the sequence of a row, however long it is."""
        row = cast(object, split.row(index, noise))
        if not isinstance(row, Mapping) or "messages" not in row:
            found = type(cast(object, row)).__name__
            raise PluginError(f"the source gave a {found}, not a mapping with 'messages'", where=split.place(index))
        try:
            return self.compile(cast("Mapping[str, Any]", row)["messages"])
        except Exception as error:
            raise DataError(str(error), where=split.place(index)) from error

    def cut(self, whole: TokenSequence, place: str) -> TokenSequence:
        """Return what of a sequence is learned from; a DataError says that nothing is."""
        sequence = truncate(whole, self.max_tokens)
        if not any(sequence.learned) and not any(span.is_learned for span in sequence.spans):
            lost = f" (dropped: {', '.join(sequence.dropped)})" if sequence.dropped else ""
            if len(whole) > self.max_tokens:
                text = (
                    f"the row has {len(whole)} positions, training.max_tokens is {self.max_tokens}: nothing is learned"
                )
                raise DataError(text + lost, where=place, hint="raise training.max_tokens")
            raise DataError(f"nothing in this row is learned{lost}", where=place)
        return sequence
