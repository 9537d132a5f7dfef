"""What a classifier's answers are worth: scores, calibration, intervals, paired comparisons.

Every row needs a label. Scores of labels take confusion matrices (..., C, C), so that a bootstrap is one call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .data.task import Labels
from .errors import DataError

BINS = 15

Counts = NDArray[np.int64]
Scores = NDArray[np.float64]

_Z = 1.959963984540054  # the normal quantile that leaves 2.5 % above it
_TABLE_CELLS = 2**22  # bounds the memory of a bootstrap's confusion matrices: 32 MiB at a time


@dataclass(frozen=True)
class Estimate:
    """A number measured on `n` items, with its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, float | int | list[float | None] | None]:
        """As in results.json, where null stands for what is not defined."""
        value, low, high = (None if math.isnan(number) else number for number in (self.value, self.low, self.high))
        return {"value": value, "ci95": [low, high], "n": self.n}


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
    return _ratio(_hits(matrix).sum(axis=-1), matrix.sum(axis=(-2, -1)))


def macro_f1(matrix: Counts) -> Scores:
    """Mean F1 of the classes that occur in truth or predictions; the others are left out, as scikit-learn does."""
    return _macro(_f1(matrix), matrix)


def weighted_f1(matrix: Counts) -> Scores:
    """Mean F1 of the classes, weighted by their share of the truth."""
    support = matrix.sum(axis=-1)
    return _ratio((_f1(matrix) * support).sum(axis=-1), support.sum(axis=-1))


def macro_recall(matrix: Counts) -> Scores:
    """Mean recall of the classes that occur in truth or predictions: one that is only predicted counts as 0."""
    return _macro(_ratio(_hits(matrix), matrix.sum(axis=-1)), matrix)


METRICS: dict[str, Callable[[Counts], Scores]] = {
    metric.__name__: metric for metric in (accuracy, macro_f1, weighted_f1, macro_recall)
}


def per_class(matrix: Counts) -> list[dict[str, float]]:
    """Precision, recall, F1 and support of each class, in order; 0 where a ratio has nothing below the line."""
    support = matrix.sum(axis=-1)
    precision, recall = _ratio(_hits(matrix), matrix.sum(axis=-2)), _ratio(_hits(matrix), support)
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
    return math.sqrt(max(0.0, _squared_gap(residuals, _bin_starts(confidence, bins))))


def reliability(probabilities: Scores, labels: Labels, bins: int = BINS) -> list[tuple[float, float, int]]:
    """(mean confidence, share right, rows) of the bins that `ece` uses, by rising confidence."""
    residuals, confidence, _ = _residuals(probabilities, labels)
    starts = _bin_starts(confidence, bins)
    sizes = np.diff(starts, append=len(confidence))
    means = np.add.reduceat(confidence, starts) / sizes
    right = np.add.reduceat(confidence - residuals, starts) / sizes
    return list(zip(means.tolist(), right.tolist(), sizes.tolist(), strict=True))


def agreement(a: Labels, b: Labels) -> Estimate:
    """Share of rows on which two classifiers choose the same label, with Wilson's interval."""
    _check_rows(a, b)
    return wilson(int((a == b).sum()), len(a))


def evaluate(probabilities: Scores, labels: Labels, resamples: int = 2000, seed: int = 0) -> dict[str, Estimate]:
    """Every score of one classifier: Wilson's interval for accuracy, bootstrap over rows for the others."""
    _check_rows(labels, probabilities)
    predictions = probabilities.argmax(axis=-1)
    matrix = confusion(labels, predictions, probabilities.shape[-1])
    values = {name: float(metric(matrix)) for name, metric in METRICS.items()}
    values |= {score.__name__: score(probabilities, labels) for score in (ece, brier, nll)}
    tables = _resampled(labels, [predictions], resamples, seed)
    replicates = np.concatenate([[metric(table) for metric in METRICS.values()] for (table,) in tables], axis=1)
    replicates = np.concatenate([replicates, _resampled_calibration(probabilities, labels, resamples, seed)])
    named = zip(values, values.values(), replicates, strict=True)
    estimates = {name: _percentile(value, drawn, len(labels)) for name, value, drawn in named}
    return estimates | {"accuracy": wilson(int(_hits(matrix).sum()), len(labels))}


def paired_difference(
    labels: Labels, a: Labels, b: Labels, metric: str, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """metric(b) − metric(a) of two classifiers' predictions, both scored on the same resampled rows."""
    return _compared(labels, a, b, metric, np.subtract, resamples, seed)


def retention(
    labels: Labels, student: Labels, teacher: Labels, metric: str, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """metric(student) / metric(teacher), both scored on the same resampled rows; NaN where the teacher scores 0."""
    return _compared(labels, teacher, student, metric, np.divide, resamples, seed)


def mcnemar(labels: Labels, a: Labels, b: Labels) -> McNemar:
    """McNemar's exact two-sided test: 2·P(X ≤ the smaller count), X binomial(discordant rows, ½), at most 1."""
    _check_rows(labels, a, b)
    only_first = int(((a == labels) & (b != labels)).sum())
    only_second = int(((a != labels) & (b == labels)).sum())
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


def _ratio(part: NDArray[np.number], whole: NDArray[np.number]) -> Scores:
    """part / whole, 0 where there is nothing of either."""
    return np.asarray(part / np.maximum(whole, 1), dtype=np.float64)


def _hits(matrix: Counts) -> Counts:
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def _f1(matrix: Counts) -> Scores:
    return _ratio(2 * _hits(matrix), matrix.sum(axis=-1) + matrix.sum(axis=-2))


def _macro(scores: Scores, matrix: Counts) -> Scores:
    present = matrix.sum(axis=-1) + matrix.sum(axis=-2) > 0  # an absent class scores 0 and only swells the divisor
    return _ratio(scores.sum(axis=-1), present.sum(axis=-1))


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


def _bin_starts(confidence: Scores, bins: int) -> NDArray[np.intp]:
    """First rows of bins of about equal mass and at least about two rows, in sorted confidences.

    A bin starts where its first confidence first occurs: were equal confidences parted, the bins of a constant model
    would depend on the order of the file, and one that is sorted by label would look badly calibrated.
    """
    rows = len(confidence)
    count = max(1, min(bins, rows // 2))
    return np.unique(np.searchsorted(confidence, confidence[np.arange(count) * rows // count]))


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
        gap = _squared_gap(residuals[drawn], _bin_starts(confidence[drawn], BINS), noise=2)
        replicates[:, column] = math.sqrt(max(0.0, gap)), *(losses @ times / rows)
    return replicates


def _compared(
    labels: Labels, a: Labels, b: Labels, metric: str, compare: np.ufunc, resamples: int, seed: int
) -> Estimate:
    """compare(metric(b), metric(a)) with its paired bootstrap interval."""
    _check_rows(labels, a, b)
    score = METRICS[metric]
    classes = int(max(labels.max(), a.max(), b.max())) + 1
    with np.errstate(divide="ignore", invalid="ignore"):  # a teacher that scores 0: not finite, left out below
        value = compare(score(confusion(labels, b, classes)), score(confusion(labels, a, classes)))
        chunks = [compare(score(two), score(one)) for one, two in _resampled(labels, [a, b], resamples, seed)]
    return _percentile(float(value), np.concatenate(chunks), len(labels))


def _percentile(value: float, replicates: Scores, n: int) -> Estimate:
    """The value between the percentiles of its bootstrap replicates, without those that are not defined."""
    defined = replicates[np.isfinite(replicates)]
    if not math.isfinite(value) or not len(defined):
        return Estimate(math.nan, math.nan, math.nan, n)
    low, high = np.quantile(defined, [0.025, 0.975])
    return Estimate(value, float(low), float(high), n)


def wilson(hits: int, n: int) -> Estimate:
    """A proportion with Wilson's score interval, which stays within 0–1 and holds for few rows."""
    share = hits / n
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half), n)
