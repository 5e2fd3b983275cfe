"""The backbone's blocks compiled while a step is computed; everything else, such as writing samples, runs as it is."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from torch import nn

from polyjanus.core.model.unified import UnifiedModel
from polyjanus.core.modules import Backbone


class Blocks:
    """The blocks of a backbone, each compiled by torch.compile for rows of any length when it is first computed."""

    def __init__(self, model: UnifiedModel, *, is_on: bool) -> None:
        self._blocks: Sequence[nn.Module] = cast(Backbone, model.part("backbone")).blocks() if is_on else ()
        for block in self._blocks:
            cast(Any, block).compile(dynamic=True)
        self._compiled = [self._set(block, None) for block in self._blocks]

    @staticmethod
    def _set(block: nn.Module, call: Any) -> Any:
        """Give a block what it is called by, where that is not its own forward, and return what it was."""
        before, cast(Any, block)._compiled_call_impl = cast(Any, block)._compiled_call_impl, call
        return before

    @contextmanager
    def compiled(self) -> Generator[None]:
        """Call the compiled blocks."""
        for block, call in zip(self._blocks, self._compiled, strict=True):
            self._set(block, call)
        try:
            yield
        finally:
            for block in self._blocks:
                self._set(block, None)
