"""Numbers with their intervals, and the bins behind a calibration error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

BINS = 15

Scores = NDArray[np.float64]

_Z = 1.959963984540054  # the normal quantile that leaves 2.5 % above it


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


def percentile(value: float, replicates: Scores, n: int) -> Estimate:
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


def paired_shares(gained: int, lost: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of (gained − lost) / n, by how much more of the same n rows one classifier gets right than another.

    With p = (gained + 1)/(n + 2) and q = (lost + 1)/(n + 2) it is p − q ± z · √((p + q − (p − q)²)/(n + 2)): the
    adjusted Wald interval of Bonett and Price (2012), which holds for few rows and where nothing was lost, when a
    bootstrap has nothing to draw.
    """
    p, q = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return max(-1.0, p - q - half), min(1.0, p - q + half)


def bin_starts(confidence: Scores, bins: int) -> NDArray[np.intp]:
    """First rows of bins of about equal mass and at least about two rows, in sorted confidences.

    A bin starts where its first confidence first occurs: were equal confidences parted, the bins of a constant model
    would depend on the order of the file, and one that is sorted by label would look badly calibrated.
    """
    rows = len(confidence)
    count = max(1, min(bins, rows // 2))
    return np.unique(np.searchsorted(confidence, confidence[np.arange(count) * rows // count]))


def ratio(part: NDArray[np.number], whole: NDArray[np.number]) -> Scores:
    """part / whole, 0 where there is nothing of either."""
    return np.asarray(part / np.maximum(whole, 1), dtype=np.float64)
