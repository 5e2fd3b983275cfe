"""Checks of encoders: what is prepared, declared and computed."""

from __future__ import annotations

from copy import deepcopy
from math import prod
from typing import Any

import torch
from torch import Tensor

from polyjanus.core.modules import Features
from polyjanus.core.testing.bench import NAME, Subject
from polyjanus.core.testing.contract import NotApplicable, check, expect, place
from polyjanus.core.testing.items import expect_prepared, is_close, items_of, largest_difference, other_item


@check("encoder")
def prepare_is_deterministic(subject: Subject) -> None:
    """`prepare` gives equal tensors each time and draws no random numbers."""
    expect_prepared(subject)


@check("encoder")
def declared_tokens_are_actual(subject: Subject) -> None:
    """`num_tokens` says how many features `forward` gives, and their grid."""
    encoder, where = subject.component, place(subject.component, "num_tokens")
    items = items_of(subject)
    features = _features(subject, items)
    declared = [encoder.num_tokens(item) for item in items]
    expect(
        features.lengths == tuple(n for n, _ in declared),
        f"{[n for n, _ in declared]} features, as num_tokens says",
        list(features.lengths),
        where,
    )
    for count, grid in declared:
        expect(grid is None or prod(grid) == count, f"a grid of {count} positions", grid, where)
    grids = list(features.grids or [None] * len(items))
    expect(grids == [grid for _, grid in declared], "the grids that num_tokens says", grids, where)


@check("encoder")
def features_have_the_declared_width(subject: Subject) -> None:
    """`forward` gives finite features (ΣN, width)."""
    encoder, where = subject.component, place(subject.component, "forward_stacked")
    features = _features(subject, items_of(subject))
    shape = (sum(features.lengths), encoder.width)
    values = features.values
    expect(tuple(values.shape) == shape, f"features of shape {shape}, as `width` says", tuple(values.shape), where)
    expect(values.is_floating_point(), "features that are floating-point", values.dtype, where)
    expect(bool(values.isfinite().all()), "finite features", "NaN or infinity", where)


@check("encoder")
def features_alone_are_features_in_a_batch(subject: Subject) -> None:
    """The features of an item do not depend on the others in its batch."""
    encoder, where = subject.component, place(subject.component, "forward_stacked")
    items = items_of(subject)
    for item, together in zip(items, _features(subject, items).split(), strict=True):
        alone = encoder([item]).values.detach()
        found = f"a difference of {largest_difference(alone, together):.3g}"
        expect(is_close(alone, together), "the same features alone and in a batch", found, where)


@check("encoder")
def items_of_different_lengths_go_together(subject: Subject) -> None:
    """Items of different shapes in one batch have the features that each has alone, as many as `num_tokens` says."""
    encoder, where = subject.component, place(subject.component, "forward")
    example, other = items_of(subject, 1)[0], other_item(subject)
    items = [example, other, example]
    features, declared = _features(subject, items), tuple(encoder.num_tokens(item)[0] for item in items)
    words = f"{list(declared)} features, as num_tokens says"
    expect(features.lengths == declared, words, list(features.lengths), place(encoder, "num_tokens"))
    for item, together in zip(items, features.split(), strict=True):
        alone = encoder([item]).values.detach()
        found = f"shapes {tuple(together.shape)} and {tuple(alone.shape)}, or other values"
        expect(is_close(alone, together), "the features of each item, whatever its length", found, where)


@check("encoder")
def features_are_repeatable(subject: Subject) -> None:
    """The same items give the same features, to the bit."""
    items = items_of(subject)
    first, again = _features(subject, items).values, _features(subject, items).values
    found = f"a difference of {largest_difference(first, again):.3g}"
    expect(torch.equal(first, again), "equal features each time", found, place(subject.component, "forward_stacked"))


@check("encoder")
def features_depend_on_the_item(subject: Subject) -> None:
    """Another item has other features."""
    mine, other, *_ = _features(subject, items_of(subject)).split()
    is_same = mine.shape == other.shape and bool(torch.allclose(mine, other))
    where = place(subject.component, "forward_stacked")
    expect(not is_same, "features that depend on the item", "equal features of different items", where)


@check("encoder")
def features_follow_the_weights(subject: Subject) -> None:
    """Moved to bfloat16, an encoder with weights gives bfloat16: models are loaded in it on GPUs."""
    if not list(subject.component.parameters()):
        raise NotApplicable("it has no weights of its own")
    items, moved = items_of(subject), deepcopy(subject.component).eval().to(torch.bfloat16)
    with torch.no_grad():
        found = moved(items).values.dtype
    expect(found == torch.bfloat16, "bfloat16 of weights in bfloat16", found, place(moved, "forward_stacked"))


@check("encoder")
def gradient_reaches_the_adaptor(subject: Subject) -> None:
    """A loss on the answer moves the adaptor that reads the encoder's features."""
    pipeline = subject.pipeline
    model, adaptor = pipeline.model, pipeline.model.part(f"{NAME}.understand.adaptor")
    rows = [[{"role": "user", "content": [subject.part()]}, {"role": "assistant", "content": "y"}]]
    model.zero_grad()
    model(**pipeline.collate(rows)).loss.backward()
    gradients: list[Any] = [parameter.grad for parameter in adaptor.parameters()]
    model.zero_grad()
    is_reached = all(isinstance(gradient, Tensor) and bool(gradient.any()) for gradient in gradients)
    where = place(subject.component, "forward_stacked")
    expect(is_reached, "a gradient in every parameter of the adaptor", "none, or zeros", where)


def _features(subject: Subject, items: Any) -> Features:
    """Return the features of items, in evaluation and without gradient."""
    with torch.no_grad():
        found: Any = subject.component.eval()(items)
    expect(isinstance(found, Features), "Features", type(found).__name__, place(subject.component, "forward"))
    return found
