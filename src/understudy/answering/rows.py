"""Probabilities that somebody else computed, checked row by row and brought to logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.task import Kind
from ..decision import log_softmax
from ..errors import DataError

Scale = Literal["probability", "log_probability", "logit"]
Floats = NDArray[np.float64]

FLOOR = 1e-6  # of a probability: a teacher that says 0 would have a logit of minus infinity


def logits_of(
    values: Floats,
    labels: Sequence[str],
    kind: Kind,
    place: Callable[[int], str],
    scale: Scale = "probability",
    tolerance: float = 0.01,
) -> tuple[NDArray[np.float32], Floats]:
    """What a teacher says of its labels as logits (n, labels), and the mass that was spread, for a task of either kind.

    Of one label per text they are log-probabilities (see `log_probabilities`); of several, each label's own log-odds.
    """
    if kind == "multi":
        return log_odds(values, labels, scale, place), np.full(len(values), np.nan)
    return log_probabilities(values, labels, scale, tolerance, place)


def log_odds(values: Floats, labels: Sequence[str], scale: Scale, place: Callable[[int], str]) -> NDArray[np.float32]:
    """ln p/(1 − p) (n, labels) of labels that apply each by itself: every p lies in 0–1, and no sum is expected.

    A row without any cell is NaN; one with some is refused, since nothing says what the others lack. Raises DataError
    with the `place` of the first bad row.
    """
    missing = np.isnan(values)
    partial = missing.any(axis=1) & ~missing.all(axis=1)
    _refuse(
        partial,
        place,
        lambda row: (
            f"{labels[int(missing[row].argmax())]!r} has no value; where several labels may apply, the other "
            "labels do not say what it is"
        ),
    )
    if scale == "logit":
        _refuse(np.isinf(values).any(axis=1), place, lambda row: "an infinite logit")
        return _narrow(values)
    shares = np.exp(values) if scale == "log_probability" else values
    outside = (shares < 0) | (shares > 1)
    _refuse(
        outside.any(axis=1),
        place,
        lambda row: (
            f"{labels[int(outside[row].argmax())]!r} has the probability {shares[row][outside[row]][0]:.4g}, expected "
            f"0 to 1{_hint(scale)}"
        ),
    )
    shares = np.clip(shares, FLOOR, 1 - FLOOR)
    return _narrow(np.log(shares / (1 - shares)))


def log_probabilities(
    values: Floats, labels: Sequence[str], scale: Scale, tolerance: float, place: Callable[[int], str]
) -> tuple[NDArray[np.float32], Floats]:
    """Log-probabilities (n, labels) of rows in which NaN stands for a cell that is not given, and the mass of each.

    What a row lacks to 1 is spread evenly over its cells that are not given; the second result is that mass, NaN for a
    row that has all cells. A row without any cell is NaN. Raises DataError with the `place` of the first bad row.
    """
    missing = np.isnan(values)
    if scale == "logit":
        partial = missing.any(axis=1) & ~missing.all(axis=1)
        _refuse(partial, place, lambda row: f"a logit is missing for {labels[int(missing[row].argmax())]!r}")
        _refuse(np.isinf(values).any(axis=1), place, lambda row: "an infinite logit")
        empty = missing.all(axis=1, keepdims=True)
        return _narrow(np.where(empty, np.nan, log_softmax(np.where(empty, 0.0, values)))), np.full(len(values), np.nan)
    given = np.where(missing, 0.0, np.exp(values) if scale == "log_probability" else values)
    _refuse_wrong(given, labels, scale, tolerance, place)
    sums, count = given.sum(axis=1), missing.sum(axis=1)
    _refuse(
        (count == 0) & (sums < 1 - tolerance),
        place,
        lambda row: (
            f"the {len(labels)} probabilities sum to {sums[row]:.4g}, expected 1 (or empty cells that share the "
            "rest); is a label missing?"
        ),
    )
    left = np.maximum(0.0, 1.0 - sums)
    filled = np.where(missing, (left / np.maximum(count, 1))[:, None], given)
    filled = np.maximum(filled, FLOOR)
    logs = np.log(filled / filled.sum(axis=1, keepdims=True))
    logs[missing.all(axis=1)] = np.nan
    return _narrow(logs), np.where((count > 0) & ~missing.all(axis=1), left, np.nan)


def _refuse_wrong(
    given: Floats, labels: Sequence[str], scale: Scale, tolerance: float, place: Callable[[int], str]
) -> None:
    negative, sums = given < 0, given.sum(axis=1)
    _refuse(
        negative.any(axis=1),
        place,
        lambda row: (
            f"{labels[int(negative[row].argmax())]!r} has {given[row][negative[row]][0]:.4g}, and a probability "
            f"is not negative{_hint(scale)}"
        ),
    )
    _refuse(
        ~(sums <= 1 + tolerance),
        place,
        lambda row: (
            f"the probabilities sum to {sums[row]:.4g}, which is more than 1 and the tolerance of {tolerance:g}"
        ),
    )


def _hint(scale: Scale) -> str:
    return '; set scale = "log_probability" or "logit" if it is none' if scale == "probability" else ""


def _refuse(bad: Any, place: Callable[[int], str], reason: Callable[[int], str]) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise DataError(f"{place(row)}: {reason(row)}")


def _narrow(values: Floats) -> NDArray[np.float32]:
    return values.astype(np.float32)
