"""Who judges the digits: exact match for words, and for pictures a classifier that has seen real ones only."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from polyjanus.core.evaluation import Metric, Sample, Score
from polyjanus.core.judging import KernelClassifier, variety
from polyjanus.core.pipeline import Pipeline
from polyjanus.examples.digits.source import NAMES, QUESTIONS, REQUESTS, load_digits, render

Array = np.ndarray[Any, Any]
SIDE = 16
"""Pixels a side at which pictures are compared."""


def features(pictures: list[Any]) -> Array:
    """Return pictures of any size as vectors (N, 256) of ink from 0 to 1, each centred on its ink."""
    return np.stack([_centred(picture).ravel() for picture in pictures])


def _centred(picture: Any) -> Array:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    ink = 1 - np.asarray(grey, dtype=np.float64) / 255
    total = max(ink.sum(), 1e-6)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    middle = (SIDE - 1) / 2
    shift = [round(middle - float((ink * axis).sum() / total)) for axis in (rows, columns)]
    return np.roll(ink, shift, (0, 1))


@cache
def judge(size: int) -> tuple[KernelClassifier, float]:
    """Return the classifier fitted on real training digits, and its accuracy on held-out ones."""
    train, test = load_digits(held_out=False), load_digits(held_out=True)
    fitted = KernelClassifier(features([render(p, size) for p in train.pictures]), train.labels, gamma=0.05, ridge=0.01)
    guesses = fitted.predict(features([render(p, size) for p in test.pictures]))
    return fitted, float((guesses == test.labels).mean())


class ReadDigits(Metric):
    """Held-out digits, named in words."""

    def __init__(self, size: int) -> None:
        self.size = size

    def measure(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Score:
        """Ask about every held-out digit, or about the first `limit`, digit after digit."""
        pictures, labels = load_digits(held_out=True)
        order = _digit_after_digit(labels)[:limit]
        drawn = [render(pictures[i], self.size) for i in order]
        prompts = [[{"type": "image", "image": picture}, QUESTIONS[0]] for picture in drawn]
        greedy = {"text": {"type": "greedy"}}
        answers = [
            reply.text for reply in pipeline.run_many(prompts, ["text"], seed=seed, samplers=greedy, max_tokens=8)
        ]
        wanted = [NAMES[labels[i]] for i in order]
        right = sum(answer == name for answer, name in zip(answers, wanted, strict=True))
        samples = tuple(
            Sample(answer or "?", "image", Image.fromarray(picture).convert("RGB"))
            for answer, picture in zip(answers[:10], drawn, strict=False)
        )
        return Score.of(right, len(order), input="image", output="text", judge="exact match", samples=samples)

    def examples(self, seed: int = 0) -> Iterator[Sample]:
        """Yield a held-out digit."""
        pictures, labels = load_digits(held_out=True)
        number = int(np.random.default_rng(seed).integers(len(labels)))
        shown = Image.fromarray(render(pictures[number], self.size)).convert("RGB")
        yield Sample(NAMES[labels[number]], "image", shown)


class DrawnDigits(Metric):
    """Digits drawn on request."""

    def __init__(self, size: int) -> None:
        self.size = size

    def measure(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Score:
        """Draw 200 digits, or `limit`, with the pipeline's own sampler."""
        fitted, ceiling = judge(self.size)
        wanted = np.arange(limit or 200) % 10
        prompts = [REQUESTS[0].format(NAMES[digit]) for digit in wanted]
        pictures = [reply.media("image")[0] for reply in pipeline.run_many(prompts, ["image"], seed=seed)]
        vectors = features(pictures)
        right = int((fitted.predict(vectors) == wanted).sum())
        samples = tuple(Sample(NAMES[d], "image", p) for d, p in zip(wanted[:10], pictures, strict=False))
        return Score.of(
            right,
            len(wanted),
            input="text",
            output="image",
            judge=f"kernel classifier fitted on real training digits ({ceiling:.1%} of held-out ones)",
            commands=(
                '"Draw a seven." --output image -o seven.png',
                '--image seven.png "Which digit is this?"',
            ),
            details={"judge_on_real": ceiling, **variety(vectors, wanted, *real_digits())},
            samples=samples,
        )


def real_digits() -> tuple[Array, Array, Array]:
    """Return held-out digits as vectors (N, 256), which they are (N,), and those that were trained on."""
    train, test = load_digits(held_out=False), load_digits(held_out=True)
    return (
        features([render(p, 32) for p in test.pictures]),
        test.labels,
        features([render(p, 32) for p in train.pictures]),
    )


def _digit_after_digit(labels: Array) -> list[int]:
    """Return indices such that the first ten are one of each digit, and so on."""
    seen = dict.fromkeys(range(10), 0)
    ranks: list[tuple[int, int, int]] = []
    for index, label in enumerate(labels.tolist()):
        ranks.append((seen[label], label, index))
        seen[label] += 1
    return [index for _, _, index in sorted(ranks)]
