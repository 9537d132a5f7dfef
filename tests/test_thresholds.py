"""Decisions of several labels per text: sigmoids, one temperature, a threshold per label for what is asked of it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

from understudy.decision import Decision, fit_temperature, losses, sigmoid, softmax
from understudy.thresholds import Threshold, fit_thresholds, fitted_decision

Floats = NDArray[np.float64]


def example(seed: int, rows: int = 200, labels: int = 3) -> tuple[Floats, NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    logits = random.normal(-1, 2, (rows, labels))
    return logits, (random.random((rows, labels)) < expit(logits)).astype(np.int64)


def scores(probabilities: Floats, truth: NDArray[np.int64], threshold: float) -> tuple[float, float, float]:
    given = probabilities >= threshold
    right = int((given & (truth == 1)).sum())
    precision, recall = right / max(1, int(given.sum())), right / int(truth.sum())
    return precision, recall, 2 * right / (int(given.sum()) + int(truth.sum()))


def test_a_sigmoid_is_the_softmax_of_two_logits() -> None:
    logits = np.array([[-800.0, -3.0, 0.0], [2.5, 40.0, 800.0]])
    pairs = np.stack([np.zeros_like(logits), logits], axis=-1)
    assert sigmoid(logits, 1.7) == pytest.approx(softmax(pairs, 1.7)[..., 1])
    assert sigmoid(np.array([-30.0]))[0] == pytest.approx(np.exp(-30.0), rel=1e-9)  # not rounded to 0
    assert sigmoid(logits[:1]).tobytes() == sigmoid(logits)[:1].tobytes()


def test_the_temperature_has_the_least_binary_cross_entropy() -> None:
    logits, labels = example(1)
    found = fit_temperature(3 * logits, labels)
    best = minimize_scalar(lambda t: losses(3 * logits / t, labels).mean(), bounds=(0.1, 20), method="bounded")
    assert found == pytest.approx(best.x, rel=1e-3)
    unlabeled = np.vstack([labels, np.full((5, 3), -1)])
    assert fit_temperature(np.vstack([3 * logits, np.full((5, 3), 9.0)]), unlabeled) == found
    expected = -(labels * np.log(expit(logits)) + (1 - labels) * np.log(1 - expit(logits))).mean(axis=1)
    assert losses(logits, labels) == pytest.approx(expected)


@pytest.mark.parametrize("aim", ["f1", "precision", "recall"])
def test_no_other_threshold_does_better(aim: str) -> None:
    logits, labels = example(2)
    probabilities = sigmoid(logits).round(2)  # with ties
    for column, truth, found in zip(
        probabilities.T, labels.T, fit_thresholds(probabilities, labels, aim, 0.8), strict=True
    ):
        assert scores(column, truth, found.value) == pytest.approx((found.precision, found.recall, found.f1))
        others = [scores(column, truth, value) for value in np.linspace(0, 1, 401)]
        if aim == "f1":
            assert found.f1 == max(f1 for _, _, f1 in others)
        else:
            reach, rest = (0, 1) if aim == "precision" else (1, 0)
            assert (found.precision, found.recall)[reach] >= 0.8
            best = max(other[rest] for other in others if other[reach] >= 0.8)
            assert (found.precision, found.recall)[rest] == best
        assert found.reached


def test_what_cannot_be_reached_is_said() -> None:
    probabilities = np.array([[0.9], [0.8], [0.2], [0.1]])
    labels = np.array([[0], [1], [0], [0]])
    (found,) = fit_thresholds(probabilities, labels, "precision", 0.9)
    assert found == Threshold(0.5, 0.5, 1.0, pytest.approx(2 / 3), reached=False)
    (never,) = fit_thresholds(probabilities, np.zeros((4, 1), np.int64))
    assert (never.value, never.reached) == (0.5, False)


def test_a_decision_reads_temperature_and_thresholds() -> None:
    logits = np.array([[1.0, -1.0], [-3.0, -0.2]], dtype=np.float32)
    assert Decision("multi").choose(logits).tolist() == [[1, 0], [0, 0]]
    assert Decision("multi", 1.0, (0.8, 0.25)).choose(logits).tolist() == [[0, 1], [0, 1]]
    assert Decision("multi", 10.0, (0.6, 0.5)).choose(logits).tolist() == [[0, 0], [0, 0]]
    assert Decision().choose(logits).tolist() == [0, 1]
    assert Decision("multi").confidence(logits) == pytest.approx(expit(np.abs(logits)).mean())


def test_a_rare_label_is_judged_by_its_rank() -> None:
    logits = np.array([[-4.0], [-5.0], [-6.0], [-7.0]], dtype=np.float32)
    labels = np.array([[1], [0], [0], [0]])
    assert fitted_decision(logits, labels).choose(logits).tolist() == labels.tolist()
