"""What a classifier's answers are worth: scores, calibration, intervals, paired comparisons.

Every row needs a label. Scores of labels take confusion matrices (..., C, C), so that a bootstrap is one call.
`multilabel` has the counterparts for labels (n, labels) of 0 and 1; `agreement` and the paired comparisons take both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import multilabel
from .data.task import Labels
from .errors import DataError
from .estimates import BINS, Scores, bin_starts, percentile, ratio, wilson
from .estimates import Estimate as Estimate

Counts = NDArray[np.int64]

_TABLE_CELLS = 2**22  # bounds the memory of a bootstrap's confusion matrices: 32 MiB at a time


@dataclass(frozen=True)
class McNemar:
    """Rows that only one of two classifiers gets right, and the p-value of 'both are right equally often'."""

    only_first: int
    only_second: int
    p: float


def confusion(labels: Labels, predictions: Labels, classes: int) -> Counts:
    """Counts (classes, classes): rows truth, columns predictions."""
    # ravel_multi_index refuses labels outside the classes, UNLABELED included.
    cells = np.ravel_multi_index((labels, predictions), (classes, classes))
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def accuracy(matrix: Counts) -> Scores:
    """Share of rows that are right."""
    return ratio(_hits(matrix).sum(axis=-1), matrix.sum(axis=(-2, -1)))


def macro_f1(matrix: Counts) -> Scores:
    """Mean F1 of the classes that occur in truth or predictions; the others are left out, as scikit-learn does."""
    return _macro(_f1(matrix), matrix)


def weighted_f1(matrix: Counts) -> Scores:
    """Mean F1 of the classes, weighted by their share of the truth."""
    support = matrix.sum(axis=-1)
    return ratio((_f1(matrix) * support).sum(axis=-1), support.sum(axis=-1))


def macro_recall(matrix: Counts) -> Scores:
    """Mean recall of the classes that occur in truth or predictions: one that is only predicted counts as 0."""
    return _macro(ratio(_hits(matrix), matrix.sum(axis=-1)), matrix)


METRICS: dict[str, Callable[[Counts], Scores]] = {
    metric.__name__: metric for metric in (accuracy, macro_f1, weighted_f1, macro_recall)
}


def per_class(matrix: Counts) -> list[dict[str, float]]:
    """Precision, recall, F1 and support of each class, in order; 0 where a ratio has nothing below the line."""
    support = matrix.sum(axis=-1)
    precision, recall = ratio(_hits(matrix), matrix.sum(axis=-2)), ratio(_hits(matrix), support)
    return [
        {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for p, r, f, n in zip(precision, recall, _f1(matrix), support, strict=True)
    ]


def nll(probabilities: Scores, labels: Labels) -> float:
    """Mean of −ln p(label); p is taken as at least 2.2e-16, as in scikit-learn's log_loss."""
    return float(_losses(probabilities, labels)[1].mean())


def brier(probabilities: Scores, labels: Labels) -> float:
    """Mean of Σ_k (p_k − [k = label])², the multi-class sum in 0–2: with two classes, twice the one-sided score."""
    return float(_losses(probabilities, labels)[0].mean())


def ece(probabilities: Scores, labels: Labels, bins: int = BINS) -> float:
    """Expected calibration error of the top label: the debiased root mean square gap over equal-mass bins.

        √max(0, Σ_b n_b/n · (g_b² − s_b²/n_b)),    g_b, s_b²: mean and variance in bin b of confidence − [right]

    Sampling alone makes g_b² too large by s_b²/n_b, so that a perfectly calibrated model would show an error that
    grows as the data shrinks. Correction: Bröcker 2012; Ferro & Fricker 2012; in root form Kumar et al. 2019 and
    Roelofs et al. 2022. A root mean square is never below the mean |gap|. Equal confidences share a bin.
    """
    residuals, confidence, _ = _residuals(probabilities, labels)
    return math.sqrt(max(0.0, _squared_gap(residuals, bin_starts(confidence, bins))))


def reliability(probabilities: Scores, labels: Labels, bins: int = BINS) -> list[tuple[float, float, int]]:
    """(mean confidence, share right, rows) of the bins that `ece` uses, by rising confidence."""
    residuals, confidence, _ = _residuals(probabilities, labels)
    starts = bin_starts(confidence, bins)
    sizes = np.diff(starts, append=len(confidence))
    means = np.add.reduceat(confidence, starts) / sizes
    right = np.add.reduceat(confidence - residuals, starts) / sizes
    return list(zip(means.tolist(), right.tolist(), sizes.tolist(), strict=True))


def agreement(a: Labels, b: Labels) -> Estimate:
    """Share of rows on which two classifiers choose the same label, or set of labels, with Wilson's interval."""
    _check_rows(a, b)
    return wilson(int(_equal(a, b).sum()), len(a))


def evaluate(probabilities: Scores, labels: Labels, resamples: int = 2000, seed: int = 0) -> dict[str, Estimate]:
    """Every score of one classifier: Wilson's interval for accuracy, bootstrap over rows for the others."""
    _check_rows(labels, probabilities)
    predictions = probabilities.argmax(axis=-1)
    matrix = confusion(labels, predictions, probabilities.shape[-1])
    tables = _resampled(labels, [predictions], resamples, seed)
    replicates = np.concatenate([[metric(table) for metric in METRICS.values()] for (table,) in tables], axis=1)
    estimates = {
        name: percentile(float(metric(matrix)), drawn, len(labels))
        for (name, metric), drawn in zip(METRICS.items(), replicates, strict=True)
    }
    estimates |= evaluate_probabilities(probabilities, labels, resamples, seed)
    return estimates | {"accuracy": wilson(int(_hits(matrix).sum()), len(labels))}


def evaluate_probabilities(
    probabilities: Scores, labels: Labels, resamples: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """The scores of `evaluate` that a temperature changes: ECE, Brier and NLL, to the same figures."""
    replicates = _resampled_calibration(probabilities, labels, resamples, seed)
    return {
        score.__name__: percentile(score(probabilities, labels), drawn, len(labels))
        for score, drawn in zip((ece, brier, nll), replicates, strict=True)
    }


def task_score(labels: Labels, answers: Labels, metric: str, resamples: int = 2000, seed: int = 0) -> Estimate:
    """One metric of answers of either kind, to the figures of `evaluate` and of its multi-label counterpart."""
    _check_rows(labels, answers)
    if metric in ("accuracy", "subset_accuracy"):
        return wilson(int(_equal(answers, labels).sum()), len(labels))
    score, tables, drawn = _tabulated(labels, answers, answers, metric, resamples, seed)
    return percentile(float(score(tables[0])), np.concatenate([score(one) for one, _ in drawn]), len(labels))


def paired_difference(
    labels: Labels, a: Labels, b: Labels, metric: str, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """metric(b) − metric(a) of two classifiers' predictions, both scored on the same resampled rows."""
    return _compared(labels, a, b, metric, np.subtract, resamples, seed)


def paired_lower_bound(
    labels: Labels, a: Labels, b: Labels, metric: str, resamples: int = 2000, seed: int = 0
) -> float:
    """The one-sided 95 % bound below metric(b) − metric(a): the 5th percentile of the same paired bootstrap."""
    _check_rows(labels, a, b)
    score, _, drawn = _tabulated(labels, a, b, metric, resamples, seed)
    return float(np.quantile(np.concatenate([score(two) - score(one) for one, two in drawn]), 0.05))


def retention(
    labels: Labels, student: Labels, teacher: Labels, metric: str, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """metric(student) / metric(teacher), both scored on the same resampled rows; NaN where the teacher scores 0."""
    return _compared(labels, teacher, student, metric, np.divide, resamples, seed)


def mcnemar(labels: Labels, a: Labels, b: Labels) -> McNemar:
    """McNemar's exact two-sided test: 2·P(X ≤ the smaller count), X binomial(discordant rows, ½), at most 1.

    Of several labels per row the whole set is right or wrong.
    """
    _check_rows(labels, a, b)
    first, second = _equal(a, labels), _equal(b, labels)
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    trials = only_first + only_second
    logs = [
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) - trials * math.log(2)
        for k in range(min(only_first, only_second) + 1)
    ]
    return McNemar(only_first, only_second, min(1.0, 2 * math.fsum(map(math.exp, logs))))


def _check_rows(labels: Labels, *others: NDArray[np.generic]) -> None:
    sizes = [len(labels), *map(len, others)]
    if min(sizes) == 0 or len(set(sizes)) > 1:
        raise DataError(f"cannot measure rows of {sizes}: expected the same number, at least 1; check the split")
    if labels.min() < 0:
        raise DataError(f"cannot measure {(labels < 0).sum()} unlabelled rows of {len(labels)}; leave them out")


def _equal(a: Labels, b: Labels) -> NDArray[np.bool_]:
    """In which rows two label arrays agree: of several labels, in all of them."""
    same: NDArray[np.bool_] = a == b
    return same if same.ndim == 1 else np.all(same, axis=1)


def _hits(matrix: Counts) -> Counts:
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def _f1(matrix: Counts) -> Scores:
    return ratio(2 * _hits(matrix), matrix.sum(axis=-1) + matrix.sum(axis=-2))


def _macro(scores: Scores, matrix: Counts) -> Scores:
    present = matrix.sum(axis=-1) + matrix.sum(axis=-2) > 0  # an absent class scores 0 and only swells the divisor
    return ratio(scores.sum(axis=-1), present.sum(axis=-1))


def _losses(probabilities: Scores, labels: Labels) -> Scores:
    """The squared error and the surprise (−ln p) of each row: (2, rows)."""
    _check_rows(labels, probabilities)
    errors, truth = np.array(probabilities, dtype=np.float64), (np.arange(len(labels)), labels)
    surprise = -np.log(np.maximum(errors[truth], np.finfo(np.float64).eps))
    errors[truth] -= 1
    return np.stack([(errors**2).sum(axis=-1), surprise])


def _residuals(probabilities: Scores, labels: Labels) -> tuple[Scores, Scores, NDArray[np.intp]]:
    """Confidence − [right] and confidence of the top labels, by rising confidence, and that order of the rows."""
    _check_rows(labels, probabilities)
    confidence = np.asarray(probabilities, dtype=np.float64).max(axis=-1)
    residuals = confidence - (np.argmax(probabilities, axis=-1) == labels)
    order = np.argsort(confidence, kind="stable")
    return residuals[order], confidence[order], order


def _squared_gap(residuals: Scores, starts: NDArray[np.intp], noise: int = 1) -> float:
    """Mean over bins of the squared mean residual, less `noise` times the variance of that mean."""
    sizes = np.diff(starts, append=len(residuals))
    gaps = np.add.reduceat(residuals, starts) / sizes
    spread = (np.add.reduceat(residuals**2, starts) - sizes * gaps**2) / np.maximum(sizes - 1, 1)
    return float(sizes @ (gaps**2 - noise * spread / sizes)) / len(residuals)


def _resampled(labels: Labels, predictions: list[Labels], resamples: int, seed: int) -> Iterator[Counts]:
    """Bootstrap confusion matrices, in chunks (lists of predictions, size of the chunk, C, C).

    To draw n rows with replacement is to draw the counts of the joint cells (label, predictions…) from a multinomial.
    """
    joint = (labels, *predictions)
    classes = int(max(column.max() for column in joint)) + 1
    codes, counts = np.unique(np.ravel_multi_index(joint, (classes,) * len(joint)), return_counts=True)
    truth, *predicted = np.unravel_index(codes, (classes,) * len(joint))
    generator = np.random.default_rng(seed)
    chunk = max(1, _TABLE_CELLS // classes**2)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = generator.multinomial(len(labels), counts / len(labels), size=size)
        tables = np.zeros((len(predicted), classes**2, size), dtype=np.int64)
        for table, column in zip(tables, predicted, strict=True):
            np.add.at(table, truth * classes + column, drawn.T)
        yield tables.transpose(0, 2, 1).reshape(-1, size, classes, classes)


def _resampled_calibration(probabilities: Scores, labels: Labels, resamples: int, seed: int) -> Scores:
    """Bootstrap replicates (3, resamples) of ece, brier and nll on the same resampled rows."""
    residuals, confidence, order = _residuals(probabilities, labels)
    losses, rows = _losses(probabilities, labels)[:, order], len(labels)
    generator = np.random.default_rng(seed)
    replicates = np.empty((3, resamples))
    for column in range(resamples):
        times = np.bincount(generator.integers(rows, size=rows), minlength=rows)
        drawn = np.repeat(np.arange(rows), times)  # still sorted by confidence
        # A resample of a sample holds the sampling noise twice; subtracted once, the interval would lie too high.
        gap = _squared_gap(residuals[drawn], bin_starts(confidence[drawn], BINS), noise=2)
        replicates[:, column] = math.sqrt(max(0.0, gap)), *(losses @ times / rows)
    return replicates


def _compared(
    labels: Labels, a: Labels, b: Labels, metric: str, compare: np.ufunc, resamples: int, seed: int
) -> Estimate:
    """compare(metric(b), metric(a)) with its paired bootstrap interval."""
    _check_rows(labels, a, b)
    score, tables, drawn = _tabulated(labels, a, b, metric, resamples, seed)
    with np.errstate(divide="ignore", invalid="ignore"):  # a teacher that scores 0: not finite, left out below
        value = compare(score(tables[1]), score(tables[0]))
        chunks = [compare(score(two), score(one)) for one, two in drawn]
    return percentile(float(value), np.concatenate(chunks), len(labels))


def _tabulated(
    labels: Labels, a: Labels, b: Labels, metric: str, resamples: int, seed: int
) -> tuple[Callable[[Any], Scores], list[Any], Iterable[Any]]:
    """The metric, the tables that it takes of both classifiers, and their bootstrap replicates in chunks."""
    if labels.ndim == 2:
        both = [multilabel.outcomes(labels, chosen) for chosen in (a, b)]
        return multilabel.METRICS[metric], both, multilabel.resampled(labels, [a, b], resamples, seed)
    classes = int(max(labels.max(), a.max(), b.max())) + 1
    matrices = [confusion(labels, chosen, classes) for chosen in (a, b)]
    return METRICS[metric], matrices, _resampled(labels, [a, b], resamples, seed)
