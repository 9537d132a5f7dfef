"""Texts whose words are nearly the same, which a random cut would put on both its sides.

The overlap of two texts is that of their sets of words, |A ∩ B| / |A ∪ B|. Pairs are found by prefix filtering
(Chaudhuri et al. 2006; Wang et al. 2012): with the words of each text ordered from rare to common, two texts that
overlap by t or more share k words among the first |A| − ⌈t·|A|⌉ + k of each.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from .duplicates import words
from .splitting import Rows

OVERLAP = 0.8

Words = frozenset[str]


def near_duplicate_groups(texts: Sequence[str]) -> list[int]:
    """A number per text, the same for texts that a chain of overlaps above `OVERLAP` joins."""
    parent = list(range(len(texts)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    for one, other in _pairs(_sets(texts)):
        parent[root(one)] = root(other)
    return [root(row) for row in range(len(texts))]


def near_rows(texts: Sequence[str], held_out: Sequence[str]) -> Rows:
    """The rows of texts that overlap by more than `OVERLAP` with a held-out one."""
    count = len(texts)
    near = set()
    for one, other in _pairs(_sets([*texts, *held_out])):
        first, second = sorted((one, other))
        if first < count <= second:
            near.add(first)
    return np.array(sorted(near), dtype=np.int64)


def _sets(texts: Sequence[str]) -> list[Words]:
    return [frozenset(words(text)) for text in texts]


def _pairs(sets: Sequence[Words]) -> Iterator[tuple[int, int]]:
    """Every pair of rows that overlap by more than `OVERLAP`, once."""
    frequency = Counter(word for row in sets for word in row)
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row in sorted(range(len(sets)), key=lambda row: len(sets[row])):
        ours = sets[row]
        least = math.ceil(OVERLAP * len(ours))
        rarest_first = sorted(ours, key=lambda word: (frequency[word], word))
        prefix = rarest_first[: len(ours) - least + _shared(ours)]
        met = Counter(other for word in prefix for other in rows_of[word])
        for other, count in met.items():
            theirs = sets[other]  # no longer than ours
            if count >= _shared(theirs) and len(theirs) >= least and _overlap(ours, theirs) > OVERLAP:
                yield row, other
        for word in prefix:
            rows_of[word].append(row)


def _shared(text: Words) -> int:
    """How many words of the prefixes must be shared; a higher number spares comparisons of long texts."""
    return min(3, math.ceil(OVERLAP * len(text)))


def _overlap(one: Words, other: Words) -> float:
    common = len(one & other)
    return common / (len(one) + len(other) - common)
