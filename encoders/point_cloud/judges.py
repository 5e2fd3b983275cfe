"""Who judges made-up shapes: exact match for words, and for clouds a classifier that has seen real ones only."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from polyjanus.core.evaluation import Metric, Sample, Score
from polyjanus.core.judging import KernelClassifier
from polyjanus.core.pipeline import Pipeline
from polyjanus.encoders.point_cloud.cloud import Array, PointCloud
from polyjanus.encoders.point_cloud.shapes import NAMES, QUESTIONS, REQUESTS, make_shape

UNSEEN = 1_000_000
"""Numbers of shapes from here on are in no data set."""
PAIRS = 4000
"""Pairs of points whose distances are counted."""
BINS = 20
GAMMA, RIDGE = 20.0, 1e-3
FITTED, HELD_OUT = 400, 160
MODALITY = "point_cloud"


def facts(cloud: PointCloud) -> Array:
    """Return what neither turning nor scaling changes: distances from the middle and between points, three spreads."""
    xyz = cloud.xyz - cloud.xyz.mean(axis=0, dtype=np.float64)
    radii = np.linalg.norm(xyz, axis=1)
    size = max(float(radii.max()), 1e-12)
    first, second = np.random.default_rng(0).integers(0, len(xyz), (2, PAIRS))
    apart = np.linalg.norm(xyz[first] - xyz[second], axis=1) / size
    spreads = np.sort(np.linalg.eigvalsh(xyz.T @ xyz / len(xyz))) / size**2
    near = np.histogram(radii / size, BINS, (0, 1.05))[0] / len(xyz)
    return np.concatenate([near, np.histogram(apart, BINS, (0, 2))[0] / PAIRS, spreads])


def unseen(count: int, start: int = UNSEEN) -> tuple[list[PointCloud], Array]:
    """Return shapes that no data set holds, in turn, and the number (count,) of each one's name."""
    numbers = range(start, start + count)
    clouds = [
        make_shape(NAMES[i % len(NAMES)], np.random.default_rng([i, 0]), np.random.default_rng([i, 1]), 512)
        for i in numbers
    ]
    return clouds, np.array([i % len(NAMES) for i in numbers])


class ShapeClassifier:
    """A classifier of facts, fitted on clouds as they are."""

    def __init__(self, clouds: list[PointCloud], labels: Array) -> None:
        self.fitted = KernelClassifier(np.stack([facts(cloud) for cloud in clouds]), labels, gamma=GAMMA, ridge=RIDGE)

    def predict(self, clouds: list[PointCloud]) -> Array:
        """Return the number of the name of each cloud."""
        return self.fitted.predict(np.stack([facts(cloud) for cloud in clouds]))


@cache
def judge() -> tuple[ShapeClassifier, float]:
    """Return the classifier fitted on shapes as they are, and its accuracy on others."""
    fitted = ShapeClassifier(*unseen(FITTED, 2 * UNSEEN))
    clouds, labels = unseen(HELD_OUT)
    return fitted, float((fitted.predict(clouds) == labels).mean())


class NamedShapes(Metric):
    """Unseen shapes, named in words."""

    def measure(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Score:
        """Ask about 160 shapes, or `limit`."""
        clouds, labels = unseen(limit or HELD_OUT)
        prompts: list[Any] = [[{"type": MODALITY, MODALITY: cloud}, QUESTIONS[0]] for cloud in clouds]
        greedy = {"text": {"type": "greedy"}}
        replies = pipeline.run_many(prompts, ["text"], seed=seed, samplers=greedy, max_tokens=12)
        answers = [reply.text for reply in replies]
        right = sum(answer == NAMES[label] for answer, label in zip(answers, labels, strict=True))
        samples = tuple(Sample(a or "?", MODALITY, cloud) for a, cloud in zip(answers[:8], clouds, strict=False))
        return Score.of(right, len(clouds), input=MODALITY, output="text", judge="exact match", samples=samples)


class MadeShapes(Metric):
    """Shapes made on request."""

    def measure(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Score:
        """Ask for 160 shapes, or `limit`, with the pipeline's own sampler."""
        fitted, ceiling = judge()
        wanted = np.arange(limit or HELD_OUT) % len(NAMES)
        prompts = [REQUESTS[0].format(NAMES[label]) for label in wanted]
        clouds = [reply.media(MODALITY)[0] for reply in pipeline.run_many(prompts, [MODALITY], seed=seed)]
        right = int((fitted.predict(clouds) == wanted).sum())
        return Score.of(
            right,
            len(wanted),
            input="text",
            output=MODALITY,
            judge=f"kernel classifier fitted on shapes as they are ({ceiling:.1%} of others)",
            commands=(f'"Make a ring." --output {MODALITY} -o ring.ply', f'--{MODALITY} ring.ply "What is this?"'),
            details={"judge_on_real": ceiling},
            samples=tuple(Sample(NAMES[label], MODALITY, c) for label, c in zip(wanted[:8], clouds, strict=False)),
        )
