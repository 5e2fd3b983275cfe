"""Judges for evaluations: a classifier in closed form, to be fitted on real data, and how varied what is made is."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class KernelClassifier:
    """Ridge regression on radial kernels, one output per class: exp(-gamma · squared distance)."""

    def __init__(self, vectors: Array, labels: Array, *, gamma: float, ridge: float) -> None:
        self.vectors, self.gamma = vectors, gamma
        targets = np.eye(int(labels.max()) + 1)[labels.astype(int)]
        kernel = self._kernel(vectors)
        self.weights = np.linalg.solve(kernel + ridge * np.eye(len(vectors)), targets)

    def predict(self, vectors: Array) -> Array:
        """Return the class (N,) of each vector (N, d)."""
        return (self._kernel(vectors) @ self.weights).argmax(1)

    def _kernel(self, vectors: Array) -> Array:
        return np.exp(-self.gamma * distances(vectors, self.vectors) ** 2)


def distances(left: Array, right: Array) -> Array:
    """Return the distances (N, M) between vectors (N, d) and (M, d)."""
    squares = (left**2).sum(1)[:, None] + (right**2).sum(1) - 2 * left @ right.T
    return np.sqrt(squares.clip(min=0))


def spread(vectors: Array, labels: Array) -> float:
    """Return the mean distance between two vectors (N, d) of the same label (N,), averaged over labels."""
    means: list[float] = []
    for label in np.unique(labels):
        group = vectors[labels == label]
        if len(group) > 1:
            means.append(float(distances(group, group).sum() / (len(group) * (len(group) - 1))))
    return float(np.mean(means)) if means else 0.0


def variety(made: Array, labels: Array, fresh: Array, fresh_labels: Array, known: Array) -> dict[str, float]:
    """Return how varied made vectors (N, d) are, beside `fresh` real ones (M, d) and `known`, which were trained on.

    `distinct`: share that no other equals. `spread`: mean distance between two of a label, as a share of real ones'.
    `nearest`: mean distance to the nearest that was trained on, as a share of that of real ones to theirs.
    """
    return {
        "distinct": len(np.unique(made.round(6), axis=0)) / len(made),
        "spread": spread(made, labels) / spread(fresh, fresh_labels),
        "nearest": float(distances(made, known).min(1).mean() / distances(fresh, known).min(1).mean()),
    }


def ranking(scores: Array, is_right: Array) -> float:
    """Return the area under the ROC curve: how often a right one scores above a wrong one, ties counting half."""
    right, wrong = scores[is_right], scores[~is_right]
    if not len(right) or not len(wrong):
        return float("nan")
    above = (right[:, None] > wrong).mean() + (right[:, None] == wrong).mean() / 2
    return float(above)
