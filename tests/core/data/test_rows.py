"""What is held out: rows drawn once, or whole groups of them."""

from typing import Any

import numpy as np
import pytest

from polyjanus.core.data.rows import Source, split
from polyjanus.core.errors import DataError


class Grouped(Source):
    def __init__(self, groups: list[str | None]) -> None:
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups)

    def row(self, index: int, noise: np.random.Generator) -> dict[str, Any]:
        return {"messages": [], "group": self.groups[index]}

    def group(self, index: int) -> str | None:
        return self.groups[index]


def held_out(groups: list[str | None], share: float, seed: int = 0) -> set[Any]:
    train, held = split("data", Grouped(groups), share, seed)
    assert sorted([*train.indices, *held.indices]) == list(range(len(groups)))
    sides = [
        {side.source.row(int(i), np.random.default_rng(0))["group"] for i in side.indices} for side in (train, held)
    ]
    assert not sides[0] & sides[1] or None in groups
    assert all(sides)
    return sides[1]


PEOPLE: list[str | None] = [f"person {i % 10}" for i in range(57)]


def test_whole_groups_are_held_out_as_many_as_their_share() -> None:
    assert len(held_out(PEOPLE, 0.2)) == 2
    assert len(held_out(PEOPLE, 0.01)) == 1
    assert len(held_out(PEOPLE, 0.99)) == 9
    assert len({frozenset(held_out(PEOPLE, 0.2, seed)) for seed in range(8)}) > 1


def test_who_is_held_out_hangs_on_the_seed_alone_and_not_on_the_order_of_rows() -> None:
    shuffled = [PEOPLE[i] for i in np.random.default_rng(0).permutation(len(PEOPLE))]
    assert held_out(PEOPLE, 0.3, 4) == held_out(shuffled, 0.3, 4) == held_out(PEOPLE[::-1], 0.3, 4)


def test_rows_without_groups_are_drawn_one_by_one() -> None:
    train, held = split("data", Grouped([None] * 20), 0.25, 0)
    assert (len(train), len(held)) == (15, 5)
    expected = np.sort(np.random.default_rng([0, 0]).permutation(20)[:5])  # as in runs of before there were groups
    assert held.indices.tolist() == expected.tolist()


def test_nothing_held_out_needs_no_groups() -> None:
    train, held = split("data", Grouped(["one"] * 3), 0.0, 0)
    assert (len(train), len(held)) == (3, 0)


@pytest.mark.parametrize(
    ("groups", "says"),
    [(["one"] * 5, "1 group of rows, 'one'"), (["one", "two", None], "1 rows of no group beside 'one'")],
)
def test_too_few_groups_are_refused_with_the_remedy(groups: list[str | None], says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        split("data", Grouped(groups), 0.5, 0)
    assert "validation: 0" in str(caught.value)
