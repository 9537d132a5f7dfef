"""From logits to probabilities: softmax, calibration temperature."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .data.task import UNLABELED, Labels
from .errors import WorkError

TEMPERATURES = (0.05, 20.0)

_HALVINGS = 50  # log(20 / 0.05) / 2^50 is about 5e-15: the limit of float64


def softmax(logits: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities of each row, exp(z/T) / Σ exp(z/T); a row's bytes do not depend on the other rows."""
    exponentials = np.exp(_shifted(logits, temperature))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def log_softmax(logits: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Log-probabilities of each row, finite where `softmax` underflows to 0."""
    shifted = _shifted(logits, temperature)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def fit_temperature(logits: ArrayLike, labels: Labels) -> float:
    """The temperature that minimises the NLL of the labelled rows, within `TEMPERATURES`.

    In b = 1/T the NLL, mean(log Σ exp(b·z) − b·z_y), is convex, so the sign of its slope, mean(E_p[z] − z_y),
    tells on which side the minimum lies: log T is halved towards it. Where no row is labelled or every row is right
    (the NLL then falls for ever as T → 0) the rows say nothing about T, and it stays 1.
    """
    scores = np.array(logits, dtype=np.float64)
    labelled = labels != UNLABELED
    scores, truth = scores[labelled], labels[labelled]
    if not np.isfinite(scores).all():
        raise WorkError("cannot fit a temperature: some logits are not finite; check the model that made them")
    target = scores[np.arange(len(truth)), truth]
    if np.all(target == scores.max(axis=-1, initial=-np.inf)):
        return 1.0
    low, high = (math.log(bound) for bound in TEMPERATURES)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        expected = (softmax(scores, math.exp(middle)) * scores).sum(axis=-1)
        if (expected - target).mean() > 0:  # too sure of itself
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def _shifted(logits: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Logits over temperature, minus the largest of their row."""
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    # In C order every row is summed on its own; a column-major array would be summed across rows, in another order.
    scaled = np.array(logits, dtype=np.float64, order="C") / temperature
    return np.asarray(scaled - scaled.max(axis=-1, keepdims=True))
