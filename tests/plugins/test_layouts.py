"""Layouts: what is packed comes back, and what is allowed can always be unpacked."""

from typing import Any

import pytest
import torch

from polyjanus.core.errors import SequenceError
from polyjanus.core.settings import BuildContext
from polyjanus.plugins.layouts import EndedConfig, GridConfig
from polyjanus.plugins.layouts.books import DelayLayout, FlatLayout
from polyjanus.plugins.layouts.frames import EndedLayout, GridLayout

BOOKS: dict[str, Any] = {"ended": EndedLayout, "flat": FlatLayout, "delay": DelayLayout}


def context(books: int = 1) -> BuildContext:
    return BuildContext(path="image.generate.layout", cardinality=7, num_codebooks=books, max_codes=5)


def grid(books: int = 1) -> GridLayout:
    return GridConfig(type="grid").build(context(books))


def ended(books: int = 1) -> EndedLayout:
    return EndedConfig(type="ended").build(context(books))


@pytest.mark.parametrize("books", [1, 3])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_packed_codes_come_back(books: int, length: int) -> None:
    for layout in (grid(books), ended(books)) if length == 5 else (ended(books),):
        codes = torch.randint(0, 7, (length, books))
        frames = layout.pack(codes)
        assert frames.shape == (layout.num_steps(length), layout.width)
        assert frames.max() < layout.cardinality
        assert torch.equal(layout.unpack(frames), codes)


@pytest.mark.parametrize("books", [1, 3])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_only_the_last_packed_frame_is_last(books: int, length: int) -> None:
    for layout in (grid(books), ended(books)) if length == 5 else (ended(books),):
        frames = layout.pack(torch.randint(0, 7, (length, books))).tolist()
        facts = [layout.is_last(frame, step) for step, frame in enumerate(frames)]
        assert facts == [False] * (len(frames) - 1) + [True]


def test_a_grid_adds_no_codes_and_forbids_none() -> None:
    assert (grid().cardinality, grid().max_steps, grid().allowed(0)) == (7, 5, None)


@pytest.mark.parametrize("length", [0, 4, 6])
def test_a_grid_of_another_size_is_refused(length: int) -> None:
    with pytest.raises(SequenceError, match=f"5 codes, this item has {length}"):
        grid().num_steps(length)


@pytest.mark.parametrize("length", [0, 6])
def test_an_item_without_codes_or_with_too_many_is_refused(length: int) -> None:
    with pytest.raises(SequenceError, match="1 to 5 codes"):
        ended().pack(torch.zeros(length, 1, dtype=torch.int64))


def test_the_end_may_come_from_the_second_step_and_must_at_the_last() -> None:
    masks = [ended(2).allowed(step) for step in range(6)]
    assert [mask[0, 7].item() for mask in masks if mask is not None] == [False, True, True, True, True, True]
    assert [mask[1, 7].item() for mask in masks if mask is not None] == [False] * 5 + [True]
    assert [mask[:, :7].all().item() for mask in masks if mask is not None] == [True] * 5 + [False]


@pytest.mark.parametrize("name", ["ended", "flat", "delay"])
@pytest.mark.parametrize("books", [1, 2, 4])
@pytest.mark.parametrize("least", [1, 3, 5])
def test_whatever_is_drawn_within_what_is_allowed_gives_codes_of_the_codec(name: str, books: int, least: int) -> None:
    generator = torch.Generator().manual_seed(0)
    layout = BOOKS[name](7, books, (least, 5))
    lengths = set()
    for _ in range(60):
        frames: list[list[int]] = []
        while not frames or not layout.is_last(frames[-1], len(frames) - 1):
            mask = layout.allowed(len(frames), frames[-1] if frames else None)
            assert mask is not None and mask.shape == (layout.width, layout.cardinality)
            frames.append(torch.multinomial(mask.float(), 1, generator=generator)[:, 0].tolist())
        codes = layout.unpack(torch.tensor(frames))
        assert len(frames) == layout.num_steps(len(codes)) <= layout.max_steps
        assert codes.shape[1] == books and 0 <= int(codes.min()) <= int(codes.max()) < 7
        if name != "ended":  # all but the end frame's other columns, which mean nothing, comes back as it was drawn
            assert layout.pack(codes).tolist() == frames
        lengths.add(len(codes))
    assert lengths == set(range(least, 6))


@pytest.mark.parametrize("name", ["flat", "delay"])
@pytest.mark.parametrize("books", [1, 3])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_codes_of_several_books_come_back(name: str, books: int, length: int) -> None:
    layout = BOOKS[name](7, books, (1, 5))
    codes = torch.randint(0, 7, (length, books), generator=torch.Generator().manual_seed(length))
    assert torch.equal(layout.unpack(layout.pack(codes)), codes)


def test_delayed_books_stand_one_step_behind_each_other() -> None:
    frames = DelayLayout(7, 3, (1, 5)).pack(torch.tensor([[1, 2, 3], [4, 5, 6]]))
    assert frames.tolist() == [[1, 7, 7], [4, 2, 7], [7, 5, 3], [7, 7, 6]]


def test_flat_books_have_codes_of_their_own() -> None:
    codes = torch.tensor([[1, 2], [3, 4]])
    assert FlatLayout(7, 2, (1, 5)).pack(codes)[:, 0].tolist() == [1, 9, 3, 11, 14]
    fixed = FlatLayout(7, 2, (2, 2))
    assert fixed.pack(codes)[:, 0].tolist() == [1, 9, 3, 11] and fixed.cardinality == 14


@pytest.mark.parametrize("name", ["flat", "delay"])
@pytest.mark.parametrize("length", [1, 6])
def test_an_item_of_several_books_that_is_too_short_or_too_long_is_refused(name: str, length: int) -> None:
    with pytest.raises(SequenceError, match="2 to 5 codes"):
        BOOKS[name](7, 2, (2, 5)).pack(torch.zeros(length, 2, dtype=torch.int64))


def test_an_item_ends_only_where_its_codec_can_decode_it() -> None:
    layout = EndedLayout(7, 1, (4, 5))
    assert [bool(mask[0, 7]) for mask in map(layout.allowed, range(6)) if mask is not None] == [False] * 4 + [True] * 2


def test_frames_after_the_end_are_dropped() -> None:
    assert ended().unpack(torch.tensor([[1], [2], [7], [3]])).tolist() == [[1], [2]]


def test_frames_without_an_end_are_all_kept() -> None:
    assert ended().unpack(torch.tensor([[1], [2]])).tolist() == [[1], [2]]
    assert ended().unpack(torch.zeros(0, 1, dtype=torch.int64)).shape == (0, 1)
