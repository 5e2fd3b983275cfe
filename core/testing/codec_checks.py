"""Checks of codecs: media to codes and back."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from polyjanus.core.codecs import StackedCodec
from polyjanus.core.modules import to_list
from polyjanus.core.testing.bench import Subject
from polyjanus.core.testing.contract import NotApplicable, check, expect, place
from polyjanus.core.testing.items import expect_prepared, items_of, other_item


@check("codec")
def codec_prepare_is_deterministic(subject: Subject) -> None:
    """`prepare` gives equal tensors each time and draws no random numbers."""
    expect_prepared(subject)


@check("codec")
def declared_codes_are_actual(subject: Subject) -> None:
    """`encode` gives as many codes as `num_codes` says, at most `max_codes`, int64 (N, K), without gradient."""
    codec, where = subject.component.eval(), place(subject.component, "encode")
    items = items_of(subject)
    given: Any = codec.encode(items)
    is_list = isinstance(cast(object, given), list) and len(given) == len(items)
    expect(is_list, f"a list of {len(items)} tensors", type(given).__name__, where)
    codes = cast("list[Tensor]", given)
    declared = [(codec.num_codes(item), codec.num_codebooks) for item in items]
    found = [tuple(item.shape) for item in codes]
    expect(found == declared, f"codes of shapes {declared}, as num_codes and num_codebooks say", found, where)
    expect(all(item.dtype == torch.int64 for item in codes), "int64", [item.dtype for item in codes], where)
    expect(not any(item.requires_grad for item in codes), "codes without gradient", "codes with", where)
    most = max(count for count, _ in declared)
    limits = f"{codec.min_codes} to {codec.max_codes} codes, as min_codes and max_codes say"
    expect(codec.min_codes <= min(count for count, _ in declared) and most <= codec.max_codes, limits, most, where)


@check("codec")
def codes_are_in_range(subject: Subject) -> None:
    """Codes lie from 0 to `cardinality` - 1."""
    codec, where = subject.component.eval(), place(subject.component, "encode")
    for item in codec.encode(items_of(subject, 8)):
        low, high = int(item.min()), int(item.max())
        is_in = 0 <= low <= high < codec.cardinality
        expect(is_in, f"codes from 0 to {codec.cardinality - 1}, as cardinality says", f"{low} to {high}", where)


@check("codec")
def codes_alone_are_codes_in_a_batch(subject: Subject) -> None:
    """The codes of an item depend neither on its batch nor on the mode of training, and are the same each time."""
    codec, where = subject.component, place(subject.component, "encode")
    items = items_of(subject)
    codec.eval()
    expected = codec.encode(items)
    codec.train()
    try:
        together, again = codec.encode(items), codec.encode(items)
        alone = [codec.encode([item])[0] for item in items]
    finally:
        codec.eval()
    expect(_equal(expected, codec.encode(items)), "equal codes each time", "codes that differ", where)
    expect(_equal(together, again), "equal codes each time, in training too", "codes that differ", where)
    expect(_equal(together, alone), "the same codes alone and in a batch", "codes that differ", where)
    expect(_equal(together, expected), "the same codes in training and in evaluation", "codes that differ", where)


def _decoding(codec: Any) -> str:
    """Return where a codec decodes: in the function that stacked items have, or in `decode`."""
    return place(codec, "decode_stacked" if isinstance(codec, StackedCodec) else "decode")


def _equal(mine: list[Tensor], theirs: list[Tensor]) -> bool:
    return len(mine) == len(theirs) and all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


@check("codec")
def codes_of_different_lengths_go_together(subject: Subject) -> None:
    """Items of different lengths in one batch have the codes that each has alone, as many as declared, and decode."""
    codec, where = subject.component.eval(), place(subject.component, "encode")
    example, other = items_of(subject, 1)[0], other_item(subject)
    items: list[Any] = [example, other, example]
    together = codec.encode(items)
    declared = [codec.num_codes(item) for item in items]
    found = [len(item) for item in together]
    expect(found == declared, f"{declared} codes, as num_codes says", found, where)
    limits = f"{codec.min_codes} to {codec.max_codes} codes, as min_codes and max_codes say"
    expect(codec.min_codes <= min(found) and max(found) <= codec.max_codes, limits, found, where)
    alone = [codec.encode([item])[0] for item in items]
    expect(_equal(together, alone), "the codes of each item, whatever its length", "codes that differ", where)
    expect(len(codec.decode(together)) == 3, "one medium per item", "another number", _decoding(codec))


@check("codec")
def decoded_media_encode_again(subject: Subject) -> None:
    """What `decode` gives is a medium of the modality, which has as many codes; no codes give no media."""
    codec, where = subject.component.eval(), _decoding(subject.component)
    items = items_of(subject)
    media: Any = codec.decode(codec.encode(items))
    expect(len(media) == len(items), f"{len(items)} media", len(media), where)
    again = [codec.num_codes(codec.prepare(medium)) for medium in media]
    declared = [codec.num_codes(item) for item in items]
    expect(again == declared, f"media of {declared} codes, as before", again, where)
    expect(codec.decode([]) == [], "no media of no codes", "something else", where)


@check("codec")
def codes_of_a_fixed_codec_come_back(subject: Subject) -> None:
    """What a codec without weights decodes has the codes that it was decoded from: there is nothing to be learned."""
    codec, where = subject.component.eval(), _decoding(subject.component)
    if list(codec.parameters()):
        raise NotApplicable("it has weights, and decodes as well as it was trained to")
    codes: list[Tensor] = codec.encode(items_of(subject, 8))
    again: list[Tensor] = codec.encode([codec.prepare(medium) for medium in codec.decode(codes)])
    for before, after in zip(codes, again, strict=True):
        expected = f"a medium whose codes are those it was decoded from, {to_list(before[:4])} …"
        expect(torch.equal(before, after), expected, f"{to_list(after[:4])} …", where)


@check("codec")
def decoded_media_are_kept_in_files(subject: Subject) -> None:
    """What `decode` gives, the modality shows, saves and loads."""
    codec, modality = subject.component.eval(), subject.modality
    (medium,) = codec.decode(codec.encode(items_of(subject, 1)))
    where = _decoding(codec)
    shown: Any = modality.preview(medium)
    expect(shown.startswith(b"\x89PNG"), "a medium that can be shown", "no PNG", where)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"decoded{modality.suffixes[0]}"
        modality.save(medium, file)
        again = codec.num_codes(codec.prepare(modality.load(file)))
    declared = codec.num_codes(codec.prepare(medium))
    expect(again == declared, f"a saved medium of {declared} codes", again, where)


@check("codec")
def every_code_decodes(subject: Subject) -> None:
    """Any codes in range give a finite medium, at the least and the greatest number: a model writes any of them."""
    codec, where = subject.component.eval(), _decoding(subject.component)
    generator = torch.Generator().manual_seed(0)
    for count in {codec.num_codes(items_of(subject, 1)[0]), codec.max_codes}:
        shape = (count, codec.num_codebooks)
        drawn = torch.randint(0, codec.cardinality, shape, generator=generator)
        for codes in (drawn, torch.full(shape, codec.cardinality - 1), torch.zeros(shape, dtype=torch.int64)):
            subject.modality.preview(codec.decode([codes])[0])
            first, again = codec.decode([codes])[0], codec.decode([codes])[0]
            is_same = subject.modality.preview(first) == subject.modality.preview(again)
            expect(is_same, "the same medium of the same codes", "another", where)


@check("codec")
def codec_works_in_half_precision(subject: Subject) -> None:
    """Moved to bfloat16, a codec encodes and decodes: models are loaded in it on GPUs."""
    items, moved = items_of(subject), deepcopy(subject.component).eval().to(torch.bfloat16)
    media = moved.decode(moved.encode(items))
    expect(len(media) == len(items), f"{len(items)} media", len(media), _decoding(moved))
    subject.modality.preview(media[0])


@check("codec")
def reconstruction_gives_gradient(subject: Subject) -> None:
    """`reconstruct`, where there is one, gives a finite loss that reaches the weights."""
    codec, where = subject.component, place(subject.component, "reconstruct")
    try:
        loss, count = codec.reconstruct(items_of(subject))
    except NotImplementedError as error:
        raise NotApplicable("it is not trained here") from error
    expect(
        count == 3 and bool(loss.isfinite()), "a finite loss of 3 items", f"{float(loss.detach())} of {count}", where
    )
    loss.backward()
    gradients = [parameter.grad for parameter in codec.parameters() if parameter.grad is not None]
    codec.zero_grad()
    is_reached = any(bool(gradient.any()) for gradient in gradients)
    expect(is_reached, "a gradient in some parameter", "none", where)
