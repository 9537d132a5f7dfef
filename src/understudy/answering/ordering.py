"""Whether the columns of a teacher that names none of its answers can stand in the order of the task's labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..data.task import UNLABELED, Labels

SURE = 0.001  # p of each test below which an order is wrong


def wrong_order(logits: NDArray[np.float32], labels: Labels, names: Sequence[str]) -> str:
    """What shows that the columns are permuted, as one says it; empty if nothing does.

    A label that applies is beaten by another that does not where the texts (those to which the first one applies and
    the second does not) get the second as their highest column more often than the first: exact one-sided sign test,
    p < SURE. The order is wrong where labels are beaten in a circle, as all are that a permutation of a good teacher
    moves. No teacher whose answers have nothing to do with the labels shows one, however lopsided they are: the label
    that it gives oftenest is not beaten. So a weak one is left alone, and a permutation of it may be missed.
    """
    known = (labels != UNLABELED).reshape(len(labels), -1).all(axis=1)
    best = logits[known].argmax(axis=1)
    applies = labels[known] == 1 if labels.ndim == 2 else labels[known][:, None] == np.arange(len(names))
    beaten_by = {}
    for label in range(len(names)):
        found = [(_p(*_votes(best, applies, label, other)), other) for other in range(len(names)) if other != label]
        p, other = min(found)
        if p < SURE:
            beaten_by[label] = other
    said = []
    for label in _circle(beaten_by):
        own, others = _votes(best, applies, label, beaten_by[label])
        said.append(
            f"of the validation texts with the label '{names[label]}' {others} get '{names[beaten_by[label]]}' and "
            f"{own} get '{names[label]}'"
        )
    return "; ".join(said)


def _votes(best: NDArray[np.intp], applies: NDArray[np.bool_], label: int, other: int) -> tuple[int, int]:
    """How many texts that have the one label and not the other get the one, and how many the other."""
    chosen = best[applies[:, label] & ~applies[:, other]]
    return int((chosen == label).sum()), int((chosen == other).sum())


def _p(own: int, others: int) -> float:
    """P(X ≤ own), X binomial(own + others, ½)."""
    trials = own + others
    logs = [math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) for k in range(own + 1)]
    return math.fsum(math.exp(log - trials * math.log(2)) for log in logs)


def _circle(beaten_by: dict[int, int]) -> list[int]:
    """Labels each of which is beaten by the next, the last one by the first; empty if there are none."""
    for start in beaten_by:
        path = [start]
        while (after := beaten_by.get(path[-1])) is not None and after not in path:
            path.append(after)
        if after == start:
            return path
    return []
