"""A cut of texts that occur inside one another, such as the phrases and sentences of SST-2.

Grouping every text with all that it contains joins nearly everything, because each sentence contains "the film".
So the sides are decided for *maximal* texts, those that occur in no other. Only they are cut off; what a cut-off text
contains is dropped from the rest, unless it is shorter than `SHORTEST` words, which tells nothing about its source.
Therefore no cut-off text occurs inside a kept one, and no kept text of `SHORTEST` words or more inside a cut-off one.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from .duplicates import words
from .splitting import Rows, stratified_cut
from .task import Labels

SHORTEST = 4

Words = tuple[str, ...]


class _Index:
    """Finds which of the given texts occur inside a text, by their first words."""

    def __init__(self, texts: Iterable[Words]) -> None:
        self.texts = set(texts)
        lengths: dict[Words, set[int]] = defaultdict(set)
        for text in self.texts:
            lengths[text[:SHORTEST]].add(len(text))
        self._lengths = {start: sorted(found) for start, found in lengths.items()}
        self._sizes = sorted({len(start) for start in lengths})

    def inside(self, text: Words) -> Iterator[Words]:
        """The indexed texts that are a run of words of this one, itself left out."""
        for start in range(len(text)):
            for size in self._sizes:
                for length in self._lengths.get(text[start : start + size], ()):
                    run = text[start : start + length]
                    if len(run) == length < len(text) and run in self.texts:
                        yield run


def containment_cut(
    texts: Sequence[str], labels: Labels, share: float, seed: int, least: int = 1
) -> tuple[Rows, Rows, Rows]:
    """The rows that stay, the rows that are cut off (a stratified share of the maximal texts), the rows dropped."""
    sequences = [_sequence(text) for text in texts]
    index = _Index(sequences)
    inner = {run for text in index.texts for run in index.inside(text)}
    maximal = np.array([row for row, text in enumerate(sequences) if text not in inner], dtype=np.int64)
    _, chosen = stratified_cut(labels[maximal], share, seed, [sequences[row] for row in maximal], least)
    cut = maximal[chosen]
    dropped = _rows_in(sequences, _long_inside(index, [sequences[row] for row in cut]))
    return np.setdiff1d(np.arange(len(texts)), np.union1d(cut, dropped)), cut, dropped


def related_rows(texts: Sequence[str], held_out: Sequence[str]) -> Rows:
    """The rows of texts that occur inside a held-out text, or in which one occurs: `SHORTEST` words or more."""
    held = [_sequence(text) for text in held_out]
    index = _Index(text for text in held if len(text) >= SHORTEST)
    starts = {text[start : start + SHORTEST] for text in held for start in range(len(text) - SHORTEST + 1)}
    rows: list[int] = []
    inner: dict[Words, list[int]] = defaultdict(list)  # texts that may be inside: a million texts are not all kept
    for row, text in enumerate(texts):
        sequence = _sequence(text)
        if next(index.inside(sequence), None) is not None:
            rows.append(row)
        elif sequence[:SHORTEST] in starts:
            inner[sequence].append(row)
    rows += [row for run in _long_inside(_Index(inner), held) for row in inner[run]]
    return np.array(sorted(rows), dtype=np.int64)


def _sequence(text: str) -> Words:
    return tuple(map(sys.intern, words(text)))  # millions of words, of which few are distinct


def _long_inside(index: _Index, held_out: Iterable[Words]) -> set[Words]:
    return {run for text in held_out for run in index.inside(text) if len(run) >= SHORTEST}


def _rows_in(sequences: Sequence[Words], chosen: set[Words]) -> Rows:
    return np.array([row for row, text in enumerate(sequences) if text in chosen], dtype=np.int64)
