"""What several seeds, several hypotheses and a margin make of a difference: the arithmetic of `conclusions`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .data.task import Labels
from .estimates import Scores
from .metrics import tabulated

LEVEL = 0.05  # of a test: the share of false alarms that is put up with

_Z = 1.6448536269514722  # the normal quantile that leaves 5 % above it


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979), in the order given.

    The chance that a single true null hypothesis of the family is rejected is at most the level, however the tests
    hang together. The k-th smallest of m is multiplied by m − k + 1; none comes out below a smaller one, or above 1.
    """
    order = np.argsort(p, kind="stable")
    raised = np.asarray(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(raised))
    return [float(value) for value in adjusted]


def over_seeds(replicates: Scores, seed: int) -> Scores:
    """The hierarchical bootstrap of the mean over seeds: (seeds, resamples) of the same texts → (resamples,).

    A column holds what the models of the seeds score on one resample of the texts; of these, as many seeds are drawn
    with replacement. Their mean varies by (s − 1)/s too little where s seeds are all there are, so that its distance
    from the column's mean is stretched by √(s/(s − 1)). One seed leaves the bootstrap over texts as it is.
    """
    seeds, resamples = replicates.shape
    whole: Scores = replicates.mean(axis=0)
    if seeds == 1:
        return whole
    drawn = np.random.default_rng(seed).integers(seeds, size=(seeds, resamples))
    part: Scores = np.take_along_axis(replicates, drawn, axis=0).mean(axis=0)
    return whole + (part - whole) * math.sqrt(seeds / (seeds - 1))


def differences(
    labels: Labels, firsts: Sequence[Labels], seconds: Sequence[Labels], metric: str, resamples: int, seed: int
) -> tuple[Scores, Scores]:
    """metric(first) − metric(second) by seed, (seeds,), and its replicates (seeds, resamples) on the same texts.

    `firsts` and `seconds` hold the predictions of the same seeds; a single `second` is held against every first.
    """
    values, replicates = tabulated(labels, [*seconds, *firsts], metric, resamples, seed)
    count = len(seconds)
    return values[count:] - values[:count], replicates[count:] - replicates[:count]


def two_sided(replicates: Scores) -> float:
    """The p-value of 'no difference' of bootstrap replicates: twice the smaller share beyond 0, which counts as both.

    At least 2/(resamples + 1), since so many resamples cannot show less (Davison and Hinkley 1997, ch. 4).
    """
    beyond = min(int((replicates <= 0).sum()), int((replicates >= 0).sum()))
    return min(1.0, 2 * (1 + beyond) / (1 + len(replicates)))


def lower_bound(replicates: NDArray[np.float64]) -> float:
    """The one-sided 95 % bound: the percentile of the replicates that leaves 5 % below it."""
    return float(np.quantile(replicates, LEVEL))


def score_bound(only_first: float, only_second: float, n: int) -> float:
    """The one-sided 95 % bound below (only_first − only_second)/n: how much more of n rows one classifier gets right.

    The smallest difference that Tango's score test (1998) does not reject: with the share that only the second gets
    right estimated under that difference, it holds where few rows differ, or none, and a bootstrap has nothing to draw.
    """
    low, high = -1.0, (only_first - only_second) / n
    for _ in range(60):
        middle = (low + high) / 2
        if _score(middle, only_first, only_second, n) > _Z:
            low = middle
        else:
            high = middle
    return low


def _score(difference: float, only_first: float, only_second: float, n: int) -> float:
    """How many standard errors the counts lie above a difference."""
    linear = (2 * n - only_first + only_second) * difference - only_first - only_second
    constant = -only_second * difference * (1 - difference)
    share = (math.sqrt(max(0.0, linear**2 - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * share + difference * (1 - difference))
    above = only_first - only_second - n * difference
    return above / math.sqrt(variance) if variance > 0 else math.inf
