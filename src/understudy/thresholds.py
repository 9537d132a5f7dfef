"""When a label of a multi-label task applies: thresholds on its probability, fitted on validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .data.task import Labels
from .decision import Decision, sigmoid

Aim = Literal["f1", "precision", "recall"]


@dataclass(frozen=True)
class Threshold:
    """A label applies from this probability on; the scores are those of the rows that it was fitted on."""

    value: float
    precision: float
    recall: float
    f1: float
    reached: bool


def fit_thresholds(
    probabilities: NDArray[np.float64], labels: Labels, aim: Aim = "f1", target: float = 0.9
) -> list[Threshold]:
    """A threshold per label, each halfway between two probabilities that occur.

    For `f1` the one of the best F1. For `precision` the one of the best recall among those that reach the target, for
    `recall` the other way round; where none reaches it, the one that comes nearest, not `reached`. A label that no row
    has gets 1/2.
    """
    return [fit_threshold(column, truth, aim, target) for column, truth in zip(probabilities.T, labels.T, strict=True)]


def fitted_decision(logits: NDArray[np.float32], labels: Labels) -> Decision:
    """How a model with these logits decides on the rows that it is judged on, before it is calibrated.

    Of one label per row it is the likeliest; of several, each has the threshold of its best F1 on these very rows,
    since what ships gets thresholds of its own: at 1/2 a rare label is never given, however well it is ranked.
    """
    if labels.ndim == 1:
        return Decision()
    return Decision("multi", 1.0, tuple(threshold.value for threshold in fit_thresholds(sigmoid(logits), labels)))


def fit_threshold(probabilities: NDArray[np.float64], truth: Labels, aim: Aim, target: float) -> Threshold:
    """The same of one label: its probabilities (n,), and whether it applies (n,)."""
    positives = int(truth.sum())
    if not positives:
        return Threshold(0.5, 0.0, 0.0, 0.0, reached=False)
    order = np.argsort(-probabilities, kind="stable")
    falling = probabilities[order]
    last = np.flatnonzero(np.append(falling[1:] < falling[:-1], True))  # a cut never parts equal probabilities
    right, given = np.cumsum(truth[order])[last], last + 1
    precision, recall = right / given, right / positives
    f1 = 2 * right / (given + positives)
    if aim == "f1":
        best, reached = int(f1.argmax()), True
    else:
        reach, rest = (precision, recall) if aim == "precision" else (recall, precision)
        reached = bool((reach >= target).any())
        wanted, other = (rest, reach) if reached else (reach, rest)
        candidates = np.flatnonzero(reach >= target) if reached else np.arange(len(last))
        best = int(max(candidates, key=lambda cut: (wanted[cut], other[cut])))
    below = falling[last[best] + 1] if last[best] + 1 < len(falling) else 0.0
    value = (falling[last[best]] + below) / 2
    return Threshold(float(value), float(precision[best]), float(recall[best]), float(f1[best]), reached)
