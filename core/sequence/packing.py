"""Sequences to a batch: rows of equal length, several documents to a row, and where every item goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from polyjanus.core.features import Kept
from polyjanus.core.sequence.spans import TokenSequence

IGNORED = -100
"""Target of a position that carries no text loss."""

Batch = dict[str, Any]
"""Tensors by name, as `UnifiedModel.forward` takes them; `media` holds a block per pathway."""


def pack_rows(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Return which sequences share a row, first fit by decreasing length; order within a row is the given one."""
    rows: list[list[int]] = []
    free: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = next((row for row, room in enumerate(free) if room >= lengths[index]), None)
        if place is None:
            place = len(rows)
            rows.append([])
            free.append(row_length)
        rows[place].append(index)
        free[place] -= lengths[index]
    return [sorted(row) for row in rows]


def collate(
    sequences: Sequence[TokenSequence], *, pad: int, max_tokens: int | None = None, shares_rows: bool = True
) -> Batch:
    """Return a batch of (B, N) tensors, N the longest sequence; shorter ones share rows unless told otherwise.

    `documents` tells sequences of one row apart and is -1 at padding; `targets[b, n]` is the text id to be predicted at
    position n, or -100; `media["X.understand"]` says where the features of each item go.
    """
    longest = max(map(len, sequences))
    if max_tokens is not None and longest > max_tokens:
        raise ValueError(f"a sequence of {longest} positions is over max_tokens = {max_tokens}; truncate it first")
    lengths = [len(sequence) for sequence in sequences]
    rows = pack_rows(lengths, longest) if shares_rows else [[index] for index in range(len(sequences))]
    ids = torch.full((len(rows), longest), pad)
    targets = torch.full((len(rows), longest), IGNORED)
    documents = torch.full((len(rows), longest), -1)
    positions = torch.arange(longest).repeat(len(rows), 1)
    media: dict[str, Any] = {}
    for row, members in enumerate(rows):
        offset = 0
        for document, index in enumerate(members):
            sequence = sequences[index]
            end = offset + len(sequence)
            ids[row, offset:end] = torch.tensor(sequence.ids)
            documents[row, offset:end] = document
            positions[row, offset:end] = torch.arange(len(sequence))
            targets[row, offset : end - 1] = _next_ids(sequence)
            _place_items(media, sequence, row, offset)
            offset = end
    return {
        "ids": ids,
        "positions": positions,
        "documents": documents,
        "targets": targets,
        "media": {name: _as_tensors(block) for name, block in media.items()},
    }


def _next_ids(sequence: TokenSequence) -> Tensor:
    """Return the text targets (N - 1,) of one sequence."""
    following = torch.tensor(sequence.ids[1:], dtype=torch.long)
    return following.masked_fill(~torch.tensor(sequence.learned[1:], dtype=torch.bool), IGNORED)


def _place_items(media: dict[str, Any], sequence: TokenSequence, row: int, offset: int) -> None:
    for span in sequence.spans:
        block = media.setdefault(
            f"{span.modality}.{span.pathway}", {"items": [], "rows": [], "starts": [], "lengths": [], "learned": []}
        )
        item = sequence.items[span.item]
        block["items"].append(item if isinstance(item, Kept) else dict(item))
        block["rows"].append(row)
        block["starts"].append(offset + span.start)
        block["lengths"].append(span.length)
        block["learned"].append(span.is_learned)


def _as_tensors(block: dict[str, Any]) -> dict[str, Any]:
    return {name: values if name == "items" else torch.tensor(values) for name, values in block.items()}


def to_device(value: Any, device: torch.device) -> Any:
    """Return a batch, or any part of it, with its tensors on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Kept):
        return Kept(value.values.to(device), value.grid)
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, Any]", value)
        return {name: to_device(entry, device) for name, entry in entries.items()}
    if isinstance(value, list):
        return [to_device(entry, device) for entry in cast("list[Any]", value)]
    return value


def causal_mask(documents: Tensor) -> Tensor | None:
    """Return who may look at whom, boolean (B, N, N), or None where plain causal attention says the same.

    A position looks back within its own document; padding looks at itself alone, so that no row is empty.
    """
    if int(documents.max()) <= 0:
        return None
    length = documents.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=documents.device).tril()
    same = documents.unsqueeze(2) == documents.unsqueeze(1)
    itself = torch.eye(length, dtype=torch.bool, device=documents.device)
    return (same & causal & (documents >= 0).unsqueeze(1)) | itself
