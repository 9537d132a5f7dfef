"""What answers of any number of labels per text are worth: scores, calibration, intervals.

Labels and predictions are (n, labels) of 0 and 1. Scores take outcomes (..., 5, labels): how often each label was
rightly given, wrongly given, missed and rightly left out, and how often the whole set was right. These are sums over
texts, so that a bootstrap is one product of matrices. Texts are what is resampled: the labels of one belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .data.task import Labels
from .estimates import BINS, Estimate, Scores, bin_starts, percentile, ratio, wilson

Outcomes = NDArray[np.float64]

_CELLS = 2**22  # bounds the memory of a bootstrap: 32 MiB of draws at a time


def outcomes(labels: Labels, predictions: Labels) -> Outcomes:
    """Outcomes (5, labels) of all texts together."""
    result: Outcomes = _by_text(labels, predictions).sum(axis=0)
    return result


def micro_f1(table: Outcomes) -> Scores:
    """F1 of all decisions together: 2·TP / (2·TP + FP + FN) of the sums over labels; frequent labels rule it."""
    right, wrong, missed = (table[..., row, :].sum(axis=-1) for row in range(3))
    return ratio(2 * right, 2 * right + wrong + missed)


def macro_f1(table: Outcomes) -> Scores:
    """Mean F1 of the labels that occur in truth or predictions; the others are left out."""
    return ratio(_f1(table).sum(axis=-1), (table[..., :3, :].sum(axis=-2) > 0).sum(axis=-1))


def subset_accuracy(table: Outcomes) -> Scores:
    """Share of texts whose whole set of labels is right."""
    return ratio(table[..., 4, 0], table[..., :4, 0].sum(axis=-1))


METRICS: dict[str, Callable[[Outcomes], Scores]] = {
    metric.__name__: metric for metric in (micro_f1, macro_f1, subset_accuracy)
}


def per_class(table: Outcomes) -> list[dict[str, float]]:
    """Precision, recall, F1 and support of each label, in order; 0 where a ratio has nothing below the line."""
    right, wrong, missed = table[0], table[1], table[2]
    precision, recall = ratio(right, right + wrong), ratio(right, right + missed)
    return [
        {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for p, r, f, n in zip(precision, recall, _f1(table), right + missed, strict=True)
    ]


def confusion(table: Outcomes) -> list[list[list[int]]]:
    """Per label [[rightly left out, wrongly given], [missed, rightly given]]: rows truth, columns answer."""
    right, wrong, missed, out = table[:4].astype(int).tolist()
    return [[[o, w], [m, r]] for r, w, m, o in zip(right, wrong, missed, out, strict=True)]


def average_precision(probabilities: Scores, labels: Labels) -> list[float | None]:
    """Per label the mean, over its texts, of the precision among all texts that score as high; None without texts.

    The area under the steps of the precision-recall curve, which no threshold enters; equal scores count as one step.
    """
    found: list[float | None] = []
    for scores, truth in zip(probabilities.T, labels.T, strict=True):
        order = np.argsort(-scores, kind="stable")
        ends = np.searchsorted(-scores[order], -scores[order], side="right")  # how many score as high
        precision = np.cumsum(truth[order])[ends - 1] / ends
        found.append(float(precision[truth[order] == 1].mean()) if truth.any() else None)
    return found


def nll(probabilities: Scores, labels: Labels) -> float:
    """Mean over texts and labels of −ln p of what is true of the label; p is taken as at least 2.2e-16."""
    return float(_losses(probabilities, labels)[1].mean())


def brier(probabilities: Scores, labels: Labels) -> float:
    """Mean over texts and labels of (p − [the label applies])², between 0 and 1."""
    return float(_losses(probabilities, labels)[0].mean())


def ece(probabilities: Scores, labels: Labels, bins: int = BINS) -> float:
    """Expected calibration error of every stated probability of every label, debiased, over equal-mass bins.

        √max(0, Σ_b n_b/N · (g_b² − v_b)),    g_b: mean in bin b of p − [the label applies], v_b its variance

    As that of `metrics`, but the variance is that of sums per text (cluster-robust), since the labels of a text are
    not independent: v_b = Σ_texts (Σ residuals − g_b · decisions)² / n_b².
    """
    return float(_ece(_BinSums(probabilities, labels, bins), np.ones((1, len(labels))), 1)[0])


def reliability(probabilities: Scores, labels: Labels, bins: int = BINS) -> list[tuple[float, float, int]]:
    """(mean probability, share of decisions in which the label applies, decisions) of the bins of `ece`, rising."""
    order = np.argsort(probabilities, axis=None, kind="stable")
    stated, applies = probabilities.ravel()[order], labels.ravel()[order]
    starts = bin_starts(stated, bins)
    sizes = np.diff(starts, append=len(stated))
    means, shares = (np.add.reduceat(column, starts) / sizes for column in (stated, applies))
    return list(zip(means.tolist(), shares.tolist(), sizes.tolist(), strict=True))


def evaluate(
    probabilities: Scores, predictions: Labels, labels: Labels, resamples: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """Every score of one classifier: Wilson's interval for subset accuracy, bootstrap over texts for the others."""
    drawn = replicates([probabilities], [predictions], labels, resamples, seed)
    found = values(probabilities, predictions, labels)
    estimates = {name: percentile(value, drawn[name][0], len(labels)) for name, value in found.items()}
    return estimates | {"subset_accuracy": wilson(int(outcomes(labels, predictions)[4, 0]), len(labels))}


def values(probabilities: Scores, predictions: Labels, labels: Labels) -> dict[str, float]:
    """Every score of one classifier, without an interval."""
    table = outcomes(labels, predictions)
    found = {name: float(metric(table)) for name, metric in METRICS.items()}
    return found | {score.__name__: score(probabilities, labels) for score in (ece, brier, nll)}


def replicates(
    probabilities: Sequence[Scores], predictions: Sequence[Labels], labels: Labels, resamples: int, seed: int
) -> dict[str, Scores]:
    """Bootstrap replicates (classifiers, resamples) of every score: in a column all are scored on the same texts."""
    drawn = []
    for shares, chosen in zip(probabilities, predictions, strict=True):
        by_text, bins, losses = _by_text(labels, chosen), _BinSums(shares, labels), _losses(shares, labels).mean(axis=2)
        chunks = []
        for times in draws(len(labels), resamples, seed):
            tables = _tables(times, by_text)
            # A resample of a sample holds the sampling noise twice: see `metrics`.
            scores = [*(metric(tables) for metric in METRICS.values()), _ece(bins, times, 2)]
            chunks.append(np.stack([*scores, *(losses @ times.T / len(labels))]))
        drawn.append(np.concatenate(chunks, axis=1))
    return dict(zip((*METRICS, "ece", "brier", "nll"), np.stack(drawn, axis=1), strict=True))


def resampled(labels: Labels, predictions: list[Labels], resamples: int, seed: int) -> Iterator[list[Outcomes]]:
    """Bootstrap outcomes of each list of predictions on the same texts, in chunks (size of the chunk, 5, labels)."""
    by_text = [_by_text(labels, chosen) for chosen in predictions]
    for times in draws(len(labels), resamples, seed):
        yield [_tables(times, rows) for rows in by_text]


def _by_text(labels: Labels, predictions: Labels) -> Outcomes:
    """Outcomes of each text, (n, 5, labels)."""
    truth, given = labels == 1, predictions == 1
    whole = np.broadcast_to((truth == given).all(axis=1, keepdims=True), truth.shape)
    return np.stack([truth & given, ~truth & given, truth & ~given, ~truth & ~given, whole], axis=1).astype(np.float64)


def draws(rows: int, resamples: int, seed: int) -> Iterator[Scores]:
    """How often each text is drawn, (size of the chunk, rows)."""
    generator = np.random.default_rng(seed)
    chunk = max(1, _CELLS // rows)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        yield generator.multinomial(rows, np.full(rows, 1 / rows), size=size).astype(np.float64)


def _tables(times: Scores, by_text: Outcomes) -> Outcomes:
    return (times @ by_text.reshape(len(by_text), -1)).reshape(-1, *by_text.shape[1:])


def _f1(table: Outcomes) -> Scores:
    right, wrong, missed = (table[..., row, :] for row in range(3))
    return ratio(2 * right, 2 * right + wrong + missed)


def _losses(probabilities: Scores, labels: Labels) -> Scores:
    """The squared error and the surprise (−ln p) of each decision: (2, n, labels)."""
    of_truth = np.where(labels == 1, probabilities, 1 - probabilities)
    return np.stack([(1 - of_truth) ** 2, -np.log(np.maximum(of_truth, np.finfo(np.float64).eps))])


class _BinSums:
    """Per text and bin of stated probability the sum of p − [applies] and the number of decisions, (n, bins) each."""

    def __init__(self, probabilities: Scores, labels: Labels, bins: int = BINS) -> None:
        order = np.argsort(probabilities, axis=None, kind="stable")
        starts = bin_starts(probabilities.ravel()[order], bins)
        of_bin = np.empty(probabilities.size, dtype=np.int64)
        of_bin[order] = np.searchsorted(starts, np.arange(probabilities.size), side="right") - 1
        cells = np.arange(len(labels)).repeat(labels.shape[1]) * len(starts) + of_bin
        shape, size = (len(labels), len(starts)), len(labels) * len(starts)
        self.residuals = np.bincount(cells, (probabilities - labels).ravel(), size).reshape(shape)
        self.decisions = np.bincount(cells, minlength=size).reshape(shape).astype(np.float64)


def _ece(bins: _BinSums, times: Scores, noise: int) -> Scores:
    """`ece` of texts drawn so many times each, (draws, n) → (draws,); `noise`: how often their variance is in g_b²."""
    residuals, decisions = bins.residuals, bins.decisions
    sizes = times @ decisions
    gaps = ratio(times @ residuals, sizes)
    spread = times @ residuals**2 - 2 * gaps * (times @ (residuals * decisions)) + gaps**2 * (times @ decisions**2)
    squared = sizes * (gaps**2 - noise * ratio(spread, sizes**2))
    return np.asarray(np.sqrt(np.maximum(0.0, squared.sum(axis=-1) / sizes.sum(axis=-1))))
