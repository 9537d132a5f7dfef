"""What may be promised of a cascade: p-values of its risk, and thresholds tested in a fixed order (Learn then Test).

Learn then Test (Angelopoulos, Bates, Candès, Jordan and Lei 2021) takes thresholds that were fixed before any row was
seen, from the safest to the cheapest, and tests for each the hypothesis that its risk is at least the level. The first
one that is not rejected ends it. With probability of at least `confidence` over the rows no threshold whose risk is
at least the level was rejected, whatever the risk does between them: more answers of a small member can lower it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Target = Literal["agreement", "risk"]
Floats = NDArray[np.float64]

# Fixed, whatever the data: evenly spaced in log-odds, as calibrated confidences are; down to 1 / 1,000.
THRESHOLDS: Floats = 1 / (1 + np.exp(-np.arange(30, -7, -0.05)))

_SHARE_OF_WEALTH = 0.75  # that one row may cost at most: the wealth stays positive


@dataclass(frozen=True)
class Seen:
    """The members on the rows of a certificate, cheap to large.

    `confidences` (members − 1, n): of all but the large one. `losses` (members, n): what it costs to take this member's
    answer instead of the large one's, whose row is 0. For agreement 1 where they differ; for risk 1 where only the
    member is wrong, −1 where only the large one is.
    """

    confidences: Floats
    losses: NDArray[np.int64]

    def answering(self, threshold: float) -> NDArray[np.intp]:
        """Which member answers each row, (n,): the first that is at least so sure, else the large one."""
        sure = np.vstack([self.confidences >= threshold, np.ones(self.losses.shape[1], dtype=bool)])
        first: NDArray[np.intp] = sure.argmax(axis=0)
        return first


@dataclass(frozen=True)
class Tested:
    """A threshold with its p-value; `deferred` is the share of the rows that the large member answers."""

    threshold: float
    p: float
    risk: float
    deferred: float


@dataclass(frozen=True)
class Outcome:
    """The cheapest threshold that is certified, None without one; the first that could not be; all that were tested."""

    certified: Tested | None
    stopped_at: Tested | None
    tested: tuple[Tested, ...]


def fixed_sequence(
    seen: Seen, target: Target, level: float, confidence: float, thresholds: Floats = THRESHOLDS
) -> Outcome:
    """Fixed-sequence testing at 1 − `confidence` of 'the risk is at least `level`', from the safest threshold on.

    All members share the threshold, one parameter that moves all: from the first to the last value of `thresholds`
    every member answers more. Testing ends, too, where the large one answers nothing any more.
    """
    order = np.random.default_rng(0).permutation(seen.losses.shape[1])  # a file that is sorted must not matter
    seen = Seen(seen.confidences[:, order], seen.losses[:, order])
    large, certified, tested = len(seen.losses) - 1, None, list[Tested]()
    for threshold in thresholds.tolist():
        by = seen.answering(threshold)
        losses, deferred = seen.losses[by, np.arange(len(by))], float((by == large).mean())
        p = P_VALUES[target](losses, level, confidence)
        found = Tested(threshold, p, float(losses.mean()), deferred)
        tested.append(found)
        if p > 1 - confidence:
            return Outcome(certified, found, tuple(tested))
        certified = found if deferred < 1 else None
        if deferred == 0:
            break
    return Outcome(certified, None, tuple(tested))


def thinned(tested: Sequence[Tested], most: int = 100) -> list[Tested]:
    """At most so many of a sequence, evenly, its last two among them; of equals in a row the last one."""
    distinct = [
        one for one, after in zip_longest(tested, tested[1:])
        if after is None or (one.deferred, one.risk) != (after.deferred, after.risk)
    ]  # fmt: skip
    before = np.linspace(0, max(0, len(distinct) - 2), most - 1).round().astype(int).tolist()
    return [distinct[row] for row in sorted({*before, len(distinct) - 1})]


def binomial_p(losses: NDArray[np.int64], level: float, confidence: float = 0.95) -> float:
    """P(X ≤ Σ losses) for X binomial(n, level): the exact p-value of 'the mean of these 0/1 losses is ≥ level'."""
    n, hits = len(losses), int(losses.sum())
    steps = np.arange(1, hits + 1)
    ratios = np.log((n - steps + 1) / steps) + math.log(level) - math.log1p(-level)
    logs = n * math.log1p(-level) + np.concatenate([[0.0], np.cumsum(ratios)])
    return min(1.0, math.fsum(np.exp(logs)))


def betting_p(losses: NDArray[np.int64], level: float, confidence: float = 0.95) -> float:
    """A valid p-value of 'the mean of these losses in [−1, 1] is ≥ level', by betting against it row by row.

        p = 1 / max_t Π_{i ≤ t} (1 + λ_i · (level − loss_i))
        λ_i = min(√(2 · ln(1/δ) / (n · s²_{i−1})), ¾ / (1 − level))

    with δ = 1 − confidence and s²_{i−1} the variance of the rows before i (and 1, once). If the mean is at least the
    level the product is a supermartingale, so that Ville's inequality bounds its maximum (Waudby-Smith and Ramdas
    2024). Unlike Hoeffding's and Bentkus's bounds it gains from small variance, which two models that mostly agree
    have: with 2,000 rows of which 4 % differ, Hoeffding's margin is 5.5 points, this one's about 1.1.
    """
    values, n = losses.astype(np.float64), len(losses)
    count = np.arange(1, n + 1)
    deviations = (values - values.cumsum() / (count + 1)) ** 2
    variance = (1 + np.concatenate([[0.0], deviations.cumsum()[:-1]])) / count  # before each row
    stakes = np.minimum(np.sqrt(-2 * math.log(1 - confidence) / (n * variance)), _SHARE_OF_WEALTH / (1 - level))
    wealth = np.log1p(stakes * (level - values)).cumsum()
    return math.exp(-max(0.0, float(wealth.max(initial=0.0))))


P_VALUES: dict[Target, Callable[[NDArray[np.int64], float, float], float]] = {
    "agreement": binomial_p,
    "risk": betting_p,
}


def rows_needed(target: Target, level: float, confidence: float) -> int:
    """How many rows it takes to certify a level if no loss is seen at all."""

    def enough(n: int) -> bool:
        return P_VALUES[target](np.zeros(n, dtype=np.int64), level, confidence) <= 1 - confidence

    high = 1
    while not enough(high):
        high *= 2
    low = high // 2  # not enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def described(certificate: Mapping[str, Any]) -> str:
    """A certificate in words."""
    promise = {
        "agreement": "another answer than the large model's on at most {} % of the texts",
        "risk": "at most {} points more errors than the large model",
    }[certificate["target"]]
    rows = "validation texts" if certificate["rows"]["of"] == "val" else "unlabelled texts"
    level, confidence = (f"{100 * certificate[name]:g}" for name in ("level", "confidence"))
    return f"{promise.format(level)}, with {confidence} % confidence, by {certificate['n']:,} {rows}"
