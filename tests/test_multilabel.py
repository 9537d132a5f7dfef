"""Scores of several labels per text: they are scikit-learn's, and their intervals hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    log_loss,
    multilabel_confusion_matrix,
    precision_recall_fscore_support,
)

from understudy import metrics, multilabel
from understudy.decision import sigmoid

Labels = NDArray[np.int64]
SHARES = np.array([0.5, 0.3, 0.1])


def drawn(rows: int, seed: int, noise: float = 1.0) -> tuple[NDArray[np.float64], Labels]:
    """Probabilities, and labels that apply as often as they say; `noise` above 1 makes them too sure."""
    random = np.random.default_rng(seed)
    topic = random.normal(size=(rows, 1))  # what the labels of a text have in common
    logits = np.log(SHARES / (1 - SHARES)) + topic + random.normal(size=(rows, 3))
    labels = (random.random((rows, 3)) < sigmoid(logits)).astype(np.int64)
    return sigmoid(noise * logits), labels


def test_scores_are_those_of_scikit_learn() -> None:
    probabilities, labels = drawn(300, 1)
    chosen = (probabilities >= 0.4).astype(np.int64)
    table = multilabel.outcomes(labels, chosen)
    assert float(multilabel.micro_f1(table)) == pytest.approx(f1_score(labels, chosen, average="micro"))
    assert float(multilabel.macro_f1(table)) == pytest.approx(f1_score(labels, chosen, average="macro"))
    assert float(multilabel.subset_accuracy(table)) == pytest.approx(accuracy_score(labels, chosen))
    assert multilabel.confusion(table) == multilabel_confusion_matrix(labels, chosen).tolist()
    expected = precision_recall_fscore_support(labels, chosen)
    for name, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [row[name] for row in multilabel.per_class(table)] == pytest.approx(list(column))
    coarse = probabilities.round(1)  # equal scores are one step
    assert multilabel.average_precision(coarse, labels) == pytest.approx(
        average_precision_score(labels, coarse, average=None)
    )
    assert multilabel.nll(probabilities, labels) == pytest.approx(log_loss(labels.ravel(), probabilities.ravel()))
    assert multilabel.brier(probabilities, labels) == pytest.approx(((probabilities - labels) ** 2).mean())


def test_a_label_that_nobody_has_or_gives_is_left_out_of_the_mean() -> None:
    labels = np.array([[1, 0], [0, 0]])
    assert float(multilabel.macro_f1(multilabel.outcomes(labels, labels))) == 1.0
    assert multilabel.average_precision(np.array([[0.9, 0.1], [0.2, 0.3]]), labels) == [1.0, None]


def test_agreement_and_mcnemar_take_the_whole_set() -> None:
    truth = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    one, two = truth.copy(), truth.copy()
    one[0, 1], two[1, 0], two[2, 0] = 1, 0, 1
    assert metrics.agreement(one, two).value == 0.25
    found = metrics.mcnemar(truth, one, two)
    assert (found.only_first, found.only_second) == (2, 1)


def test_calibration_error_is_that_of_each_stated_probability() -> None:
    errors = [multilabel.ece(*drawn(4000, seed)) for seed in range(8)]
    assert np.mean(errors) < 0.01
    sure = [multilabel.ece(*drawn(4000, seed, noise=3.0)) for seed in range(3)]
    assert min(sure) > 0.05
    assert multilabel.ece(np.full((50, 2), 0.7), np.zeros((50, 2), np.int64)) == pytest.approx(0.7)
    bins = multilabel.reliability(*drawn(500, 3))
    assert sum(size for _, _, size in bins) == 1500
    assert [mean for mean, _, _ in bins] == sorted(mean for mean, _, _ in bins)


def test_labels_of_a_text_are_not_taken_for_independent() -> None:
    """The same label three times over says no more than once: debiasing by decisions would leave an error."""
    few = [drawn(60, seed) for seed in range(200)]
    once = np.mean([multilabel.ece(p[:, :1], y[:, :1], bins=5) ** 2 for p, y in few])
    thrice = np.mean([multilabel.ece(np.tile(p[:, :1], 3), np.tile(y[:, :1], 3), bins=5) ** 2 for p, y in few])
    assert thrice == pytest.approx(once, rel=0.15)


def test_intervals_hold_the_truth_19_times_in_20() -> None:
    probabilities, labels = drawn(200_000, 9)
    chosen = (probabilities >= 0.4).astype(np.int64)
    table = multilabel.outcomes(labels, chosen)
    names = ["micro_f1", "macro_f1", "subset_accuracy", "brier", "nll"]
    truth = {name: float(metric(table)) for name, metric in multilabel.METRICS.items()}
    truth |= {"brier": multilabel.brier(probabilities, labels), "nll": multilabel.nll(probabilities, labels)}
    hits = dict.fromkeys(names, 0)
    for sample in range(150):
        rows = slice(sample * 300, (sample + 1) * 300)
        found = multilabel.evaluate(probabilities[rows], chosen[rows], labels[rows], 200, sample)
        assert found["micro_f1"].n == 300
        for name in names:
            hits[name] += found[name].low <= truth[name] <= found[name].high
    assert all(0.90 <= hit / 150 <= 1.0 for hit in hits.values()), hits


@pytest.mark.parametrize("metric", multilabel.METRICS)
def test_paired_comparisons_of_sets(metric: str) -> None:
    probabilities, labels = drawn(400, 2)
    good, bad = ((probabilities >= cut).astype(np.int64) for cut in (0.4, 0.9))
    gap = metrics.paired_difference(labels, bad, good, metric, 300)
    value = multilabel.METRICS[metric]
    expected = float(value(multilabel.outcomes(labels, good)) - value(multilabel.outcomes(labels, bad)))
    assert gap.value == pytest.approx(expected)
    assert gap.low < gap.value < gap.high
    same = metrics.paired_difference(labels, good, good, metric, 300)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    kept = metrics.retention(labels, bad, good, metric, 300)
    assert kept.low < kept.value < kept.high < 1
