"""Whether a component fits where it stands."""

from types import SimpleNamespace
from typing import Any

import pytest

from polyjanus.core.errors import SequenceError, WiringError
from polyjanus.core.model.fitting import check_lengths
from polyjanus.core.modules import Codec


class FourSteps:
    """A layout that takes four codes and nothing else."""

    def num_steps(self, num_codes: int) -> int:
        if num_codes != 4:
            raise SequenceError("a grid has 4 codes")
        return 4


def check(fewest: int | None) -> None:
    kind: Any = type("Silent", (Codec,), {"max_codes": 4, **({} if fewest is None else {"min_codes": fewest})})
    kind.__abstractmethods__ = frozenset()
    codec = kind()
    settings = SimpleNamespace(layout=SimpleNamespace(type="grid"), codec=SimpleNamespace(type="silent"))
    check_lengths(settings, codec, FourSteps(), "x.generate")  # type: ignore[arg-type]


def test_a_codec_that_says_its_items_differ_needs_a_layout_for_that() -> None:
    check(4)
    with pytest.raises(WiringError, match="items of 1 to 4 codes"):
        check(1)


def test_a_codec_that_never_said_how_few_codes_an_item_has_is_believed() -> None:
    check(None)
