"""From logits to probabilities and labels: softmax, sigmoid, calibration temperature, thresholds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .data.task import UNLABELED, Kind, Labels
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


def sigmoid(logits: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Probability of each label by itself, 1 / (1 + exp(−z/T)): each is the softmax of two logits, 0 and z."""
    scaled = _scaled(logits, temperature)
    small = np.exp(-np.abs(scaled))
    return np.asarray(np.where(scaled >= 0, 1.0, small) / (1.0 + small))


def losses(logits: ArrayLike, labels: Labels) -> NDArray[np.float64]:
    """−ln p of what is true of each row, (n,): of its label, or the mean over several labels."""
    if labels.ndim == 1:
        return np.asarray(-log_softmax(logits)[np.arange(len(labels)), labels])
    scores = np.array(logits, dtype=np.float64)
    surprise = np.maximum(scores, 0) - scores * labels + np.log1p(np.exp(-np.abs(scores)))
    return np.asarray(surprise.mean(axis=1))


@dataclass(frozen=True)
class Decision:
    """How the logits of a model become probabilities and labels; `thresholds` are those of a multi-label task."""

    kind: Kind = "single"
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()  # in the order of the labels; none: 1/2 for each

    def probabilities(self, logits: ArrayLike) -> NDArray[np.float64]:
        """(n, labels): of one label per text they sum to 1, of several each stands by itself."""
        return (softmax if self.kind == "single" else sigmoid)(logits, self.temperature)

    def choose(self, logits: NDArray[np.float32]) -> Labels:
        """The likeliest label of each text, (n,); of a multi-label task 1 from its threshold on, (n, labels)."""
        if self.kind == "single":
            best: Labels = logits.argmax(axis=1)
            return best
        return self.applies(self.probabilities(logits)).astype(np.int64)

    def applies(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which labels of a multi-label task have a probability from their threshold on."""
        result: NDArray[np.bool_] = probabilities >= (self.thresholds or 0.5)
        return result

    def confidence(self, logits: ArrayLike) -> float:
        """Mean probability of what is chosen; of several labels, that each applies or does not (at 1/2)."""
        if self.kind == "single":
            return float(np.exp(log_softmax(logits, self.temperature).max(axis=1)).mean())
        probabilities = self.probabilities(logits)
        return float(np.maximum(probabilities, 1 - probabilities).mean())


def fit_temperature(logits: ArrayLike, labels: Labels) -> float:
    """The temperature that minimises the NLL of the labelled rows, within `TEMPERATURES`.

    In b = 1/T the NLL, mean(log Σ exp(b·z) − b·z_y), is convex, so the sign of its slope, mean(E_p[z] − z_y),
    tells on which side the minimum lies: log T is halved towards it. Where no row is labelled or every row is right
    (the NLL then falls for ever as T → 0) the rows say nothing about T, and it stays 1. Of several labels per row each
    is a row of two logits, 0 and its own, whose NLL is the binary cross-entropy.
    """
    if labels.ndim == 2:
        own = np.asarray(logits, dtype=np.float64).ravel()
        return fit_temperature(np.stack([np.zeros_like(own), own], axis=1), labels.ravel())
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
    scaled = _scaled(logits, temperature)
    return np.asarray(scaled - scaled.max(axis=-1, keepdims=True))


def _scaled(logits: ArrayLike, temperature: float) -> NDArray[np.float64]:
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    # In C order every row is summed on its own; a column-major array would be summed across rows, in another order.
    return np.array(logits, dtype=np.float64, order="C") / temperature
