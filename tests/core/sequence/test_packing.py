"""Packing: documents share rows without seeing each other, and every target stands one position before its id."""

import random

import pytest
import torch

from polyjanus.core.sequence.packing import IGNORED, causal_mask, collate, pack_rows
from polyjanus.core.sequence.spans import Span, TokenSequence


def _text(*ids: int) -> TokenSequence:
    return TokenSequence(list(ids), [True] * len(ids))


@pytest.mark.parametrize("seed", range(20))
def test_rows_hold_every_sequence_once_and_never_too_much(seed: int) -> None:
    numbers = random.Random(seed)
    lengths = [numbers.randint(1, 40) for _ in range(numbers.randint(1, 60))]
    rows = pack_rows(lengths, max(lengths))
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in row) <= max(lengths) for row in rows)
    assert all(row == sorted(row) for row in rows)
    assert all(pack_rows(lengths, max(lengths)) == rows for _ in range(2))


def test_targets_are_the_next_ids_of_the_same_document() -> None:
    batch = collate([_text(1, 2, 3, 4, 5), _text(6, 7), _text(8, 9)], pad=0)
    assert batch["ids"].tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]]
    assert batch["targets"].tolist() == [[2, 3, 4, 5, IGNORED], [7, IGNORED, 9, IGNORED, IGNORED]]
    assert batch["documents"].tolist() == [[0] * 5, [0, 0, 1, 1, -1]]
    assert batch["positions"].tolist() == [[0, 1, 2, 3, 4], [0, 1, 0, 1, 4]]


def test_unlearned_ids_are_no_targets() -> None:
    sequence = TokenSequence([1, 2, 3, 4], [True, False, True, False])
    assert collate([sequence], pad=0)["targets"].tolist() == [[IGNORED, 3, IGNORED, IGNORED]]


def test_padding_that_is_an_ordinary_token_changes_nothing() -> None:
    """Pad is often the end of text: order and masks go by length, never by id."""
    batch = collate([_text(1, 5, 5), _text(5)], pad=5)
    assert batch["documents"].tolist() == [[0, 0, 0], [0, -1, -1]]
    assert batch["targets"].tolist() == [[5, 5, IGNORED], [IGNORED] * 3]


def test_items_keep_their_places_in_shared_rows() -> None:
    item = {"pixels": torch.zeros(1)}
    long = TokenSequence([1, 0, 0, 2, 3], [False] * 5, [Span("image", "understand", 1, 2, 0)], [item])
    short = TokenSequence([0, 0, 4], [True] * 3, [Span("image", "understand", 0, 2, 0)], [item])
    block = collate([_text(7, 8), long, short], pad=9)["media"]["image.understand"]
    assert [block[name].tolist() for name in ("rows", "starts", "lengths")] == [[0, 1], [1, 2], [2, 2]]
    assert len(block["items"]) == 2


def test_one_row_each_where_asked() -> None:
    batch = collate([_text(1, 2, 3), _text(4), _text(5)], pad=0, shares_rows=False)
    assert batch["ids"].tolist() == [[1, 2, 3], [4, 0, 0], [5, 0, 0]]


def test_a_sequence_over_the_limit_is_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match="a sequence of 3 positions is over max_tokens = 2"):
        collate([_text(1, 2, 3)], pad=0, max_tokens=2)


def test_a_position_sees_its_own_past_alone() -> None:
    documents = torch.tensor([[0, 0, 1, 1, -1]])
    mask = causal_mask(documents)
    assert mask is not None
    assert mask[0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]


def test_single_documents_need_no_mask() -> None:
    assert causal_mask(torch.tensor([[0, 0, 0], [0, 0, -1]])) is None
