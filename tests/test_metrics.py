from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest

from understudy import metrics
from understudy.data.task import UNLABELED
from understudy.decision import softmax
from understudy.errors import DataError
from understudy.metrics import (
    METRICS,
    Estimate,
    McNemar,
    agreement,
    brier,
    confusion,
    ece,
    evaluate,
    mcnemar,
    nll,
    paired_difference,
    per_class,
    reliability,
    retention,
)

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

CLASSES = 5
PAIRS = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=40)
SIMULATIONS = 200
COVERED = (0.905, 0.995)  # 95 % ± 2.9 standard deviations of the share of so many simulations


def columns(pairs: list[tuple[int, ...]]) -> list[Labels]:
    return list(np.array(pairs, dtype=np.int64).T)


def drawn_labels(probabilities: Floats, generator: np.random.Generator) -> Labels:
    """One label for each row, drawn from its probabilities."""
    return (probabilities.cumsum(axis=1) > generator.random((len(probabilities), 1))).argmax(axis=1)


def binary(confidence: Floats, right: NDArray[np.bool_]) -> tuple[Floats, Labels]:
    """Probabilities whose top label is 0, and the labels that make the given rows right."""
    return np.stack([confidence, 1 - confidence], axis=1), np.where(right, 0, 1)


def mistaken(labels: Labels, share: float, classes: int, generator: np.random.Generator) -> Labels:
    """Predictions that are wrong on about `share` of the rows."""
    shift = generator.integers(1, classes, size=len(labels)) * (generator.random(len(labels)) < share)
    return (labels + shift) % classes


# Scores of labels


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_scores_of_labels_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    labels, predictions = columns(pairs)
    matrix = confusion(labels, predictions, CLASSES)
    classes = list(range(CLASSES))
    np.testing.assert_array_equal(matrix, reference.confusion_matrix(labels, predictions, labels=classes))
    options = {"zero_division": 0.0}
    expected = {
        "accuracy": reference.accuracy_score(labels, predictions),
        "macro_f1": reference.f1_score(labels, predictions, average="macro", **options),
        "weighted_f1": reference.f1_score(labels, predictions, average="weighted", **options),
        "macro_recall": reference.recall_score(labels, predictions, average="macro", **options),
    }
    assert {name: float(metric(matrix)) for name, metric in METRICS.items()} == pytest.approx(expected)
    table = reference.precision_recall_fscore_support(labels, predictions, labels=classes, **options)
    rows = [dict(zip(("precision", "recall", "f1", "support"), row, strict=True)) for row in zip(*table, strict=True)]
    assert per_class(matrix) == [pytest.approx(row) for row in rows]


@settings(deadline=None)
@given(st.lists(PAIRS, min_size=1, max_size=4), st.sampled_from(sorted(METRICS)))
def test_a_batch_is_scored_as_its_matrices_one_by_one(batch: list[list[tuple[int, int]]], name: str) -> None:
    matrices = [confusion(*columns(pairs), CLASSES) for pairs in batch]
    together = METRICS[name](np.array(matrices)[:, None])
    assert together.shape == (len(batch), 1)
    assert together[:, 0].tolist() == [float(METRICS[name](matrix)) for matrix in matrices]


@settings(deadline=None)
@given(PAIRS, st.sampled_from(sorted(METRICS)))
def test_classes_that_do_not_occur_change_nothing(pairs: list[tuple[int, int]], name: str) -> None:
    labels, predictions = columns(pairs)
    scores = [float(METRICS[name](confusion(labels, predictions, classes))) for classes in (CLASSES, CLASSES + 3)]
    assert scores[0] == pytest.approx(scores[1])


@pytest.mark.parametrize(("label", "prediction"), [(UNLABELED, 0), (0, 2), (2, 0)])
def test_a_label_outside_the_classes_is_refused(label: int, prediction: int) -> None:
    with pytest.raises(ValueError, match="invalid entry"):
        confusion(np.array([0, label]), np.array([0, prediction]), 2)


# Probabilities and calibration


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nll_and_brier_agree_with_scikit_learn(classes: int, dtype: type) -> None:
    generator = np.random.default_rng(classes)
    probabilities = softmax(generator.normal(size=(200, classes))).astype(dtype)
    labels = generator.integers(classes, size=200)
    names = list(range(classes))
    assert nll(probabilities, labels) == pytest.approx(
        reference.log_loss(labels, probabilities, labels=names), rel=1e-5
    )
    expected = reference.brier_score_loss(labels, probabilities, labels=names, scale_by_half=False)
    assert brier(probabilities, labels) == pytest.approx(expected, rel=1e-5)


def test_a_sure_and_wrong_row_has_a_finite_nll() -> None:
    certain, labels = np.array([[1.0, 0.0]]), np.array([1])
    assert nll(certain, labels) == pytest.approx(-math.log(2**-52))
    assert brier(certain, labels) == 2


def test_a_calibrated_model_has_next_to_no_calibration_error() -> None:
    squares, naive = [], []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        confidence = generator.uniform(0.55, 0.99, size=2000)
        probabilities, labels = binary(confidence, generator.random(2000) < confidence)
        squares.append(ece(probabilities, labels) ** 2)
        bins = reliability(probabilities, labels)
        naive.append(sum(n * (mean - right) ** 2 for mean, right, n in bins) / 2000)
    assert np.mean(np.array(squares) == 0) > 0.4  # the debiased square is as often below 0 as above
    assert np.mean(squares) < np.mean(naive) / 5


@pytest.mark.parametrize("gap", [0.05, 0.15])
@pytest.mark.parametrize("n", [1000, 25_000])
def test_the_calibration_error_of_an_overconfident_model_is_its_gap(gap: float, n: int) -> None:
    squares = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        confidence = generator.uniform(0.6, 0.99, size=n)
        squares.append(ece(*binary(confidence, generator.random(n) < confidence - gap)) ** 2)
    assert math.sqrt(np.mean(squares)) == pytest.approx(gap, abs=0.005 if n == 1000 else 0.002)


def test_the_calibration_error_without_sampling_noise_is_the_gap_itself() -> None:
    for rows in (1, 10):
        assert ece(*binary(np.full(rows, 0.9), np.full(rows, True))) == pytest.approx(0.1)


def test_the_calibration_error_of_one_bin_follows_the_formula() -> None:
    right = np.array([True, False, False, False])
    variance = np.var(0.99 - right, ddof=1)
    assert ece(*binary(np.full(4, 0.99), right)) == pytest.approx(math.sqrt((0.99 - 0.25) ** 2 - variance / 4))


def test_gaps_of_opposite_signs_do_not_cancel_unless_they_share_a_bin() -> None:
    generator = np.random.default_rng(9)
    confidence = generator.uniform(0.6, 0.9, size=25_000)
    real = confidence + np.where(confidence < 0.75, 0.1, -0.1)
    probabilities, labels = binary(confidence, generator.random(25_000) < real)
    assert ece(probabilities, labels, bins=16) == pytest.approx(0.1, abs=0.01)
    assert ece(probabilities, labels, bins=1) < 0.01


def test_a_constant_model_is_calibrated_whatever_the_order_of_the_rows() -> None:
    right = np.arange(1000) < 700  # as in a file that is sorted by label
    probabilities, labels = binary(np.full(1000, 0.7), right)
    assert reliability(probabilities, labels) == [(pytest.approx(0.7), pytest.approx(0.7), 1000)]
    assert ece(probabilities, labels) == 0


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 200), st.integers(1, 20))
def test_bins_hold_every_row_once_by_rising_confidence(seed: int, rows: int, bins: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities = softmax(generator.normal(size=(rows, 3)))
    labels = generator.integers(3, size=rows)
    means, shares, sizes = map(np.array, zip(*reliability(probabilities, labels, bins), strict=True))
    assert len(sizes) == max(1, min(bins, rows // 2))
    assert sizes.sum() == rows
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(means) > 0).all()
    assert means @ sizes / rows == pytest.approx(probabilities.max(axis=1).mean())
    assert shares @ sizes / rows == pytest.approx((probabilities.argmax(axis=1) == labels).mean())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 100))
def test_the_order_of_the_rows_does_not_matter(seed: int, rows: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities = softmax(generator.integers(-2, 3, size=(rows, 3)))  # many equal confidences
    labels = generator.integers(3, size=rows)
    order = generator.permutation(rows)
    plain, shuffled = (
        {name: estimate.value for name, estimate in evaluate(p, y, resamples=2).items()}
        for p, y in ((probabilities, labels), (probabilities[order], labels[order]))
    )
    assert plain == pytest.approx(shuffled, abs=1e-7)


# Intervals


@settings(deadline=None)
@given(st.integers(1, 2000), st.data())
def test_proportions_have_wilsons_interval(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    estimate = agreement(np.zeros(n, dtype=np.int64), (np.arange(n) >= hits).astype(np.int64))
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert (estimate.value, estimate.n) == (hits / n, n)
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_evaluate_gives_every_score_between_its_bounds() -> None:
    generator = np.random.default_rng(0)
    probabilities = softmax(generator.normal(size=(400, 3)))
    labels = drawn_labels(probabilities, generator)
    predictions = probabilities.argmax(axis=1)
    estimates = evaluate(probabilities, labels, resamples=200)
    matrix = confusion(labels, predictions, 3)
    expected = {name: float(metric(matrix)) for name, metric in METRICS.items()}
    expected |= {"ece": ece(probabilities, labels), "brier": brier(probabilities, labels)}
    expected |= {"nll": nll(probabilities, labels)}
    assert {name: estimate.value for name, estimate in estimates.items()} == expected
    assert all(e.low <= e.value <= e.high and e.low < e.high and e.n == 400 for e in estimates.values())
    assert estimates["accuracy"] == agreement(predictions, labels)


def test_intervals_repeat_with_the_seed_and_change_with_it() -> None:
    generator = np.random.default_rng(1)
    probabilities = softmax(generator.normal(size=(100, 3)))
    labels = drawn_labels(probabilities, generator)
    first, again, other = (evaluate(probabilities, labels, resamples=50, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert all(first[name] != other[name] for name in first if name not in ("accuracy", "ece"))
    a, b = mistaken(labels, 0.2, 3, generator), mistaken(labels, 0.3, 3, generator)
    for compared in (paired_difference, retention):
        estimates = [compared(labels, a, b, "macro_f1", resamples=50, seed=seed) for seed in (0, 0, 1)]
        assert estimates[0] == estimates[1] != estimates[2]


def test_the_size_of_a_chunk_changes_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    labels = generator.integers(4, size=150)
    a, b = (mistaken(labels, share, 4, generator) for share in (0.1, 0.3))
    whole = paired_difference(labels, a, b, "macro_f1", resamples=60)
    monkeypatch.setattr(metrics, "_TABLE_CELLS", 7 * 4**2)
    assert paired_difference(labels, a, b, "macro_f1", resamples=60) == whole


def test_the_bootstrap_interval_of_a_mean_is_about_the_normal_one() -> None:
    generator = np.random.default_rng(8)
    probabilities = softmax(generator.normal(size=(1000, 3)))
    labels = drawn_labels(probabilities, generator)
    a, b = mistaken(labels, 0.2, 3, generator), mistaken(labels, 0.3, 3, generator)
    chosen = probabilities[np.arange(1000), labels]
    estimates = evaluate(probabilities, labels)
    for estimate, values in (
        (estimates["nll"], -np.log(chosen)),
        (estimates["brier"], ((probabilities - np.eye(3)[labels]) ** 2).sum(axis=1)),
        (paired_difference(labels, a, b, "accuracy"), (b == labels) * 1.0 - (a == labels)),
    ):
        width = 2 * 1.96 * values.std() / math.sqrt(1000)
        assert estimate.high - estimate.low == pytest.approx(width, rel=0.08)
        assert (estimate.low + estimate.high) / 2 == pytest.approx(values.mean(), abs=0.08 * width)


@dataclass(frozen=True)
class Population:
    """Equally frequent kinds of rows: what the model says of each, and how its labels are really distributed."""

    said: Floats
    real: Floats

    def sample(self, rows: int, generator: np.random.Generator) -> tuple[Floats, Labels]:
        kinds = generator.integers(len(self.said), size=rows)
        return self.said[kinds], drawn_labels(self.real[kinds], generator)

    def truth(self) -> dict[str, float]:
        top = self.said.argmax(axis=1)
        matrix = np.zeros((3, 3))
        np.add.at(matrix.T, top, self.real)
        whole = np.rint(matrix * 10**12).astype(np.int64)
        scores = {name: float(metric(whole)) for name, metric in METRICS.items()}
        gaps = self.said.max(axis=1) - self.real[np.arange(len(top)), top]
        square = (self.said**2).sum(axis=1) - 2 * (self.said * self.real).sum(axis=1) + 1
        surprise = -(self.real * np.log(self.said)).sum(axis=1)
        return scores | {
            "ece": math.sqrt((gaps**2).mean()),
            "brier": float(square.mean()),
            "nll": float(surprise.mean()),
        }


def test_intervals_hold_the_truth_19_times_in_20() -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(8, 3), scale=1.5)
    population = Population(softmax(logits, 0.5), softmax(logits))  # sure of itself by a factor of 2
    truth = population.truth()
    runs = [evaluate(*population.sample(500, generator), resamples=150) for _ in range(SIMULATIONS)]
    for name, value in truth.items():
        held = np.mean([run[name].low <= value <= run[name].high for run in runs])
        assert COVERED[0] <= held <= COVERED[1], (name, held)


def test_the_interval_of_a_calibrated_model_reaches_down_to_zero() -> None:
    generator = np.random.default_rng(4)
    said = softmax(generator.normal(size=(1000, 3)))
    population = Population(said, said)
    runs = [evaluate(*population.sample(500, generator), resamples=100)["ece"] for _ in range(60)]
    assert np.mean([run.low == 0 for run in runs]) >= 0.95
    assert np.mean([run.low <= run.value <= run.high for run in runs]) >= 0.95


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_comparisons_hold_the_truth_19_times_in_20(metric: str) -> None:
    generator = np.random.default_rng(5)
    truth = generator.integers(3, size=10**6)
    noise = mistaken(truth, 0.15, 3, generator)
    better, worse = mistaken(noise, 0.05, 3, generator), mistaken(noise, 0.15, 3, generator)
    scores = [float(METRICS[metric](confusion(truth, guess, 3))) for guess in (better, worse)]
    held = []
    for _ in range(SIMULATIONS):
        rows = generator.integers(len(truth), size=400)
        labels, teacher, student = truth[rows], better[rows], worse[rows]
        difference = paired_difference(labels, teacher, student, metric, resamples=400)
        kept = retention(labels, student, teacher, metric, resamples=400)
        held.append(
            (
                difference.low <= scores[1] - scores[0] <= difference.high,
                kept.low <= scores[1] / scores[0] <= kept.high,
            )
        )
    assert ((np.mean(held, axis=0) >= COVERED[0]) & (np.mean(held, axis=0) <= COVERED[1])).all(), np.mean(held, axis=0)


# Comparisons


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_comparisons_are_those_of_the_scores(metric: str) -> None:
    generator = np.random.default_rng(6)
    labels = generator.integers(4, size=500)
    a, b = mistaken(labels, 0.1, 4, generator), mistaken(labels, 0.3, 4, generator)
    first, second = (float(METRICS[metric](confusion(labels, guess, 4))) for guess in (a, b))
    assert paired_difference(labels, a, b, metric).value == pytest.approx(second - first)
    assert paired_difference(labels, a, b, metric).high < 0 < paired_difference(labels, b, a, metric).low
    assert retention(labels, b, a, metric).value == pytest.approx(second / first)
    assert retention(labels, b, a, metric).high < 1 < retention(labels, a, b, metric).low
    assert paired_difference(labels, a, a, metric) == Estimate(0, 0, 0, 500)
    assert retention(labels, a, a, metric) == Estimate(1, 1, 1, 500)


def test_a_paired_interval_is_narrower_than_an_unpaired_one() -> None:
    generator = np.random.default_rng(7)
    labels = generator.integers(3, size=2000)
    a = mistaken(labels, 0.2, 3, generator)
    b = mistaken(a, 0.02, 3, generator)
    paired = paired_difference(labels, a, b, "accuracy")
    apart = [evaluate(np.eye(3)[guess], labels, resamples=10)["accuracy"] for guess in (a, b)]
    unpaired = math.hypot(*(estimate.high - estimate.low for estimate in apart))
    assert 0 < paired.high - paired.low < unpaired / 2


def test_nothing_is_retained_of_nothing() -> None:
    labels, wrong = np.array([0, 1, 0]), np.array([1, 0, 1])
    kept = retention(labels, labels, wrong, "accuracy")
    assert all(map(math.isnan, (kept.value, kept.low, kept.high)))
    assert json.loads(json.dumps(kept.to_dict(), allow_nan=False)) == {"value": None, "ci95": [None, None], "n": 3}


def test_resamples_in_which_the_teacher_scores_nothing_are_left_out() -> None:
    labels = np.zeros(4, dtype=np.int64)
    kept = retention(labels, labels, np.array([0, 1, 1, 1]), "accuracy")
    assert (kept.value, kept.low) == (4, pytest.approx(4 / 3))
    assert kept.high == 4  # one right row in four, the least that a resample can have


def test_an_estimate_is_written_as_in_results_json() -> None:
    assert Estimate(0.5, 0.25, 0.75, 8).to_dict() == {"value": 0.5, "ci95": [0.25, 0.75], "n": 8}


@pytest.mark.parametrize(
    ("first", "second"), [(0, 0), (1, 0), (0, 9), (5, 5), (3, 17), (17, 3), (50, 51), (400, 520), (40_000, 40_600)]
)
def test_mcnemar_is_the_exact_binomial_test(first: int, second: int) -> None:
    labels = np.zeros(first + second + 20, dtype=np.int64)
    a, b = labels.copy(), labels.copy()
    b[:first] = 1
    a[first : first + second] = 1
    a[-10:] = b[-10:] = 1  # both wrong
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(labels, a, b) == McNemar(first, second, pytest.approx(expected, rel=1e-8))
    assert mcnemar(labels, a, b).p <= 1


# Refusals

ONE, TWO, NONE = np.zeros(1, dtype=np.int64), np.zeros(2, dtype=np.int64), np.zeros(0, dtype=np.int64)


@pytest.mark.parametrize(
    "call",
    [
        lambda labels: agreement(labels, TWO),
        lambda labels: mcnemar(labels, TWO, TWO),
        lambda labels: paired_difference(labels, TWO, TWO, "accuracy"),
        lambda labels: retention(labels, TWO, TWO, "accuracy"),
        lambda labels: evaluate(np.eye(2), labels),
        lambda labels: nll(np.eye(2), labels),
        lambda labels: brier(np.eye(2), labels),
        lambda labels: ece(np.eye(2), labels),
        lambda labels: reliability(np.eye(2), labels),
    ],
)
def test_rows_that_cannot_be_measured_are_refused(call: Callable[[Labels], object]) -> None:
    for labels in (ONE, NONE):
        with pytest.raises(DataError, match=rf"^cannot measure rows of \[{len(labels)}, 2(, 2)?\]: expected the same"):
            call(labels)
    sentence = "cannot measure 1 unlabelled rows of 2; leave them out"
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        call(np.array([0, UNLABELED]))


def test_empty_arrays_are_refused() -> None:
    sentence = "cannot measure rows of [0, 0]: expected the same number, at least 1; check the split"
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        agreement(NONE, NONE)
