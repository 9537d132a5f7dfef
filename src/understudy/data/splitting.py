"""Seeded, stratified cuts and subsets of labelled rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from .task import Labels

Rows = NDArray[np.int64]
_CUT, _SUBSET, _FOLDS = 1, 2, 3  # separate random streams: a subset must not follow from the cut before it


def stratified_cut(
    labels: Labels, share: float, seed: int, groups: Sequence[Hashable] | None = None, least: int = 1
) -> tuple[Rows, Rows]:
    """The rows that stay and the rows that are cut off, each in ascending order.

    Every class gives its share, within one row, at least `least` rows, and never its last. With `groups`, rows of one
    group go together, and the classes come as near to their shares as a greedy pass over shuffled groups gets.
    Labels (n, labels) of a multi-label task are cut by `strata`, as they are in the functions below.
    """
    labels = strata(labels)
    wanted = _quotas(labels, share, least)
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(range(len(labels)) if groups is None else groups):
        members.setdefault(group, []).append(row)
    pool = list(members.values())
    classes = labels.tolist()
    cut: list[int] = []
    for index in np.random.default_rng([seed, _CUT]).permutation(len(pool)):
        counts = Counter(classes[row] for row in pool[index])
        # Squared distance to the quotas, before minus after: take the group if that brings the cut nearer.
        if sum(count * (2 * wanted[label] - count) for label, count in counts.items()) > 0:
            cut += pool[index]
            wanted.subtract(counts)
    taken = np.zeros(len(labels), dtype=bool)
    taken[cut] = True
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def strata(labels: Labels) -> Labels:
    """The class of each row that a cut is to keep in proportion: of several labels the rarest, and one for none.

    So every label that is the rarest of some row gets its share of these, and the rare ones, which chance would treat
    worst, get it in full (the idea of iterative stratification: Sechidis, Tsoumakas and Vlahavas 2011).
    """
    if labels.ndim == 1:
        return labels
    counts = np.where(labels == 1, labels.sum(axis=0), len(labels) + 1)
    rarest: Labels = np.where((labels == 1).any(axis=1), counts.argmin(axis=1), labels.shape[1])
    return rarest


def _quotas(labels: Labels, share: float, least: int) -> Counter[int]:
    """Rows to cut per class: rounded down, then the largest remainders rounded up until the total fits."""
    classes, sizes = np.unique(labels, return_counts=True)
    exact = sizes * share
    quotas = np.floor(exact).astype(np.int64)
    missing = round(len(labels) * share) - int(quotas.sum())
    quotas[np.argsort(quotas - exact, kind="stable")[: max(missing, 0)]] += 1
    quotas = np.minimum(np.maximum(quotas, least), np.maximum(sizes - 1, 0))
    return Counter(dict(zip(classes.tolist(), quotas.tolist(), strict=True)))


def stratified_subset(labels: Labels, limit: int, seed: int) -> Rows:
    """At most `limit` rows in ascending order, with the class shares of the whole; smaller limits give subsets."""
    if limit >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    labels = strata(labels)
    generator = np.random.default_rng([seed, _SUBSET])
    turn = np.empty(len(labels))
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        # Row r of n comes at time (r + 1/2) / n, so any prefix in time is stratified; the first of each class opens.
        turn[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
        turn[rows[0]] = 0.0
    return np.sort(np.argsort(turn, kind="stable")[:limit])


def stratified_folds(labels: Labels, folds: int, seed: int) -> Rows:
    """The fold of each row, from 0: sizes of folds, and of each class in them, differ by one row at most."""
    labels = strata(labels)
    order = np.random.default_rng([seed, _FOLDS]).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # a class is dealt out after the other, in one round
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % folds
    return fold
