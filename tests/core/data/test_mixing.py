"""The schedule: a function of seed, stage, step and place, in exact ratios, every row once an epoch."""

from collections import Counter

import numpy as np
import pytest

from polyjanus.core.data.mixing import Draw, Schedule, pattern


def _schedule(mix: dict[str, float], sizes: dict[str, int], batch: int = 4, seed: int = 0, stage: int = 0) -> Schedule:
    return Schedule(seed, stage, pattern(mix), sizes, batch)


def _draws(schedule: Schedule, steps: int) -> list[Draw]:
    return [draw for step in range(steps) for draw in schedule.draws(step)]


@pytest.mark.parametrize(
    ("mix", "counts"),
    [
        ({"a": 1}, {"a": 1}),
        ({"a": 5, "b": 2}, {"a": 5, "b": 2}),
        ({"a": 4, "b": 2}, {"a": 2, "b": 1}),
        ({"a": 0.7, "b": 0.3}, {"a": 7, "b": 3}),
        ({"a": 0.5, "b": 1.5, "c": 1}, {"a": 1, "b": 3, "c": 2}),
        ({"a": 1, "b": 0}, {"a": 1}),
        ({"a": 1, "b": 0.001}, {"a": 1000, "b": 1}),
        ({"a": 1 / 3, "b": 2 / 3}, {"a": 1, "b": 2}),
    ],
)
def test_a_period_has_exactly_the_ratios_of_the_mix(mix: dict[str, float], counts: dict[str, int]) -> None:
    assert Counter(pattern(mix)) == counts


def test_a_period_is_evenly_interleaved() -> None:
    period = pattern({"a": 3, "b": 1})
    places = [place for place, name in enumerate(period * 2) if name == "b"]
    assert places[1] - places[0] == 4
    assert pattern({"b": 1, "a": 1}) == pattern({"a": 1, "b": 1})


def test_a_mix_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one ratio above zero"):
        pattern({"a": 0})


@pytest.mark.parametrize("batch", [1, 3, 4, 7])
def test_ratios_count_rows_across_steps(batch: int) -> None:
    draws = _draws(_schedule({"a": 5, "b": 2}, {"a": 11, "b": 3}, batch), 70)
    for start in range(0, len(draws), 7):
        assert Counter(draw.source for draw in draws[start : start + 7]) == {"a": 5, "b": 2}


def test_every_row_comes_once_an_epoch_and_in_another_order_the_next() -> None:
    draws = _draws(_schedule({"a": 2, "b": 1}, {"a": 10, "b": 7}, 3), 70)
    for name, size in (("a", 10), ("b", 7)):
        rows = [draw.index for draw in draws if draw.source == name]
        epochs = [rows[start : start + size] for start in range(0, len(rows) - size, size)]
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
        assert epochs[0] != epochs[1]


def test_a_step_is_a_function_of_seed_stage_and_step() -> None:
    mix, sizes = {"a": 2, "b": 1}, {"a": 50, "b": 70}
    forward = [_schedule(mix, sizes).draws(step) for step in range(30)]
    backward = {step: _schedule(mix, sizes).draws(step) for step in reversed(range(30))}
    assert all(backward[step] == draws for step, draws in enumerate(forward))
    assert forward[3] != _schedule(mix, sizes, seed=1).draws(3)
    assert forward[3] != _schedule(mix, sizes, stage=1).draws(3)


def test_noise_differs_in_every_place_and_is_the_same_again() -> None:
    draws = _draws(_schedule({"a": 1}, {"a": 5}), 10)
    first = [draw.noise().random() for draw in draws]
    assert len(set(first)) == len(draws)
    assert first == [draw.noise().random() for draw in draws]
    assert isinstance(draws[0].noise(), np.random.Generator)
