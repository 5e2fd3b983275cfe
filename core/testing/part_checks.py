"""Checks of adaptors, layouts, heads and samplers, each alone."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from polyjanus.core.modules import Features
from polyjanus.core.settings import BuildContext
from polyjanus.core.testing.bench import NAME, SIMPLE, Subject
from polyjanus.core.testing.contract import check, expect, place
from polyjanus.core.testing.items import WIDTH, is_close

LENGTHS = ((4, 1, 7), (1,), (5,), (0, 3))


def _adaptor(subject: Subject) -> Any:
    context = BuildContext(path=f"{NAME}.understand.adaptor", width_in=WIDTH, width_out=WIDTH)
    return subject.settings.build(context).eval()


def _features(*lengths: int) -> Features:
    generator = torch.Generator().manual_seed(0)
    return Features.of([torch.randn(n, WIDTH, generator=generator) for n in lengths])


@check("adaptor")
def adaptor_gives_what_it_declares(subject: Subject) -> None:
    """Features come out in the number that `num_tokens` says and in the wanted width; an empty item too."""
    adaptor = _adaptor(subject)
    where = place(adaptor, "forward")
    for lengths in LENGTHS:
        adapted = adaptor(_features(*lengths))
        declared = tuple(adaptor.num_tokens(n, None)[0] for n in lengths)
        expect(adapted.lengths == declared, f"{declared} features for {lengths}", adapted.lengths, where)
        shape, found = (sum(declared), WIDTH), tuple(adapted.values.shape)
        expect(found == shape, f"features of shape {shape}", found, where)


@check("adaptor")
def adapted_alone_is_adapted_in_a_batch(subject: Subject) -> None:
    """What comes out for an item does not depend on the others in its batch."""
    adaptor = _adaptor(subject)
    for lengths in LENGTHS:
        given = _features(*lengths)
        for item, together in zip(given.split(), adaptor(given).split(), strict=True):
            alone = adaptor(Features.of([item])).values
            where = place(adaptor, "forward")
            expect(is_close(alone, together), "the same features alone and in a batch", "other values", where)


@check("adaptor")
def gradient_passes_an_adaptor(subject: Subject) -> None:
    """A loss on what comes out reaches what went in and every parameter."""
    adaptor, given = _adaptor(subject), _features(3, 2)
    given.values.requires_grad_()
    adaptor(given).values.square().sum().backward()
    where = place(adaptor, "forward")
    gradient: Any = given.values.grad
    expect(gradient is not None and bool(gradient.any()), "a gradient in what went in", "none", where)
    idle = [name for name, parameter in adaptor.named_parameters() if parameter.grad is None]
    expect(not idle, "a gradient in every parameter", f"none in {idle}", where)


def _layout(subject: Subject, books: int) -> Any:
    context = BuildContext(path=f"{NAME}.generate.layout", cardinality=7, num_codebooks=books, max_codes=5)
    return subject.settings.build(context)


@check("layout")
def unpacked_is_what_was_packed(subject: Subject) -> None:
    """`unpack` gives back the codes that `pack` took; the frames are as declared, and the last one ends the item."""
    for books in (1, 3):
        layout = _layout(subject, books)
        where = place(layout, "pack")
        codes = torch.randint(0, 7, (5, books), generator=torch.Generator().manual_seed(0))
        frames = layout.pack(codes)
        shape, found = (layout.num_steps(5), layout.width), tuple(frames.shape)
        expect(found == shape, f"frames of shape {shape}, as num_steps and width say", found, where)
        expect(len(frames) <= layout.max_steps, f"at most {layout.max_steps} steps", len(frames), where)
        low, high = int(frames.min()), int(frames.max())
        is_in = 0 <= low <= high < layout.cardinality
        expect(is_in, f"frames from 0 to {layout.cardinality - 1}", f"{low} to {high}", where)
        is_same = torch.equal(layout.unpack(frames), codes)
        expect(is_same, "unpack(pack(codes)) to be the codes", "other codes", place(layout, "unpack"))
        facts = [layout.is_last(frame, step) for step, frame in enumerate(frames.tolist())]
        expected = [False] * (len(frames) - 1) + [True]
        expect(facts == expected, "the last frame, and no other, to end the item", facts, place(layout, "is_last"))


@check("layout")
def packed_frames_are_allowed(subject: Subject) -> None:
    """What `pack` gives is `allowed` at every step, so that a model can write it."""
    for books in (1, 3):
        layout = _layout(subject, books)
        where = place(layout, "allowed")
        codes = torch.randint(0, 7, (5, books), generator=torch.Generator().manual_seed(0))
        frames = layout.pack(codes)
        for step, frame in enumerate(frames):
            allowed = layout.allowed(step, frames[step - 1].tolist() if step else None)
            if allowed is None:
                continue
            shape = (layout.width, layout.cardinality)
            expect(tuple(allowed.shape) == shape, f"a mask of shape {shape}", tuple(allowed.shape), where)
            is_allowed = bool(allowed[torch.arange(layout.width), frame].all())
            expect(is_allowed, f"frame {frame.tolist()} to be allowed at step {step}", "a mask that forbids it", where)


def _head(subject: Subject, settings: Any) -> Any:
    context = BuildContext(path=f"{NAME}.generate.head", d_model=WIDTH, cardinality=9, num_codebooks=2)
    with cast(Any, torch.random).fork_rng(devices=[]):
        cast(Any, torch).manual_seed(0)
        return settings.build(context)


@check("head")
def loss_is_a_sum_over_frames(subject: Subject) -> None:
    """`loss` is the sum over frames of what each has alone, none included, and gradient reaches the hidden states."""
    head = _head(subject, subject.settings)
    where = place(head, "loss")
    for rows in (0, 1, 6):
        generator = torch.Generator().manual_seed(1)
        hidden = torch.randn(rows, WIDTH, generator=generator, requires_grad=True)
        frames = torch.randint(0, 9, (rows, 2), generator=generator)
        total, count = head.loss(hidden, frames)
        is_finite = total.ndim == 0 and bool(total.isfinite())
        expect(is_finite, f"a finite sum for {rows} frames", total, where)
        expect(int(count) == frames.numel(), f"{frames.numel()} targets", int(count), where)
        alone = [head.loss(hidden[i : i + 1], frames[i : i + 1])[0] for i in range(rows)]
        summed = torch.stack(alone).sum() if alone else torch.zeros(())
        expect(
            is_close(total, summed),
            f"the sum of single losses, {float(summed.detach()):.6g}",
            f"{float(total.detach()):.6g}",
            where,
        )
        total.backward()
        is_reached = hidden.grad is not None and (not rows or bool(hidden.grad.any()))
        expect(is_reached, "a gradient in the hidden states", "none", where)


@check("head", "sampler")
def drawn_frames_are_allowed(subject: Subject) -> None:
    """Frames drawn are allowed ones, in range, and the same for the same noise; with guidance too."""
    registries = subject.bench.registries
    if subject.kind == "head":
        names = [name for name in registries.samplers.names() if name in ("greedy", "nucleus", "guided")]
        pairs = [(subject.settings, subject.bench.settings("sampler", name)) for name in names]
    else:
        pairs = [(subject.bench.settings("head", SIMPLE["head"]), subject.settings)]
    for head_settings, sampler_settings in pairs:
        sampler = sampler_settings.build(BuildContext(path=f"{NAME}.generate.sampler"))
        head = _head(subject, head_settings)
        where = place(head, "sample") if subject.kind == "head" else place(sampler, "__call__")
        _expect_frames(head, sampler, where)


def _expect_frames(head: Any, sampler: Any, where: str) -> None:
    hidden = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(1))
    allowed = torch.zeros(2, 9, dtype=torch.bool)
    allowed[0, 3] = allowed[1, 7] = True

    def noise(column: int) -> Tensor:
        return torch.rand(5, 9, generator=torch.Generator().manual_seed(column))

    options: dict[str, Any] = {"sampler": sampler, "noise": None if sampler.is_greedy else noise}
    with torch.no_grad():
        forced = head.sample(hidden, negative=-hidden, allowed=allowed, **options)
        free = head.sample(hidden, negative=None, allowed=None, **options)
        again = head.sample(hidden, negative=None, allowed=None, **options)
    expect(forced.tolist() == [[3, 7]] * 5, "the only allowed frame, [3, 7]", forced.tolist(), where)
    expect(tuple(free.shape) == (5, 2), "frames of shape (5, 2)", tuple(free.shape), where)
    expect(torch.equal(free, again), "the same frames for the same noise", "other frames", where)
    low, high = int(free.min()), int(free.max())
    expect(0 <= low <= high < 9, "codes from 0 to 8", f"{low} to {high}", where)
