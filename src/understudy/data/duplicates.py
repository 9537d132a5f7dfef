"""Texts that occur more than once: within a split, across splits, exactly or but for case and punctuation."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .task import Split

Rows = NDArray[np.int64]


class _Punctuation(dict[int, str | int]):
    """A table for `str.translate` that learns which code points are punctuation as it meets them.

    Other symbols stay: emoticons and currency signs change what a text says.
    """

    def __missing__(self, code: int) -> str | int:
        category = unicodedata.category(chr(code))
        self[code] = " " if category[0] == "P" or category == "Sk" else code
        return self[code]


_PUNCTUATION = _Punctuation()


def words(text: str) -> list[str]:
    """The words of a text without case and punctuation; a text of punctuation alone is its own word."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return folded.translate(_PUNCTUATION).split() or [folded]


def key(text: str) -> str:
    """What two texts have in common that differ in case and punctuation only."""
    return " ".join(words(text))


@dataclass(frozen=True)
class Unique:
    """The rows that stay of a split, and how many repeat a text of an earlier row with the same or another label."""

    rows: Rows
    same: int
    conflicting: int


def first_occurrences(split: Split) -> Unique:
    """Keep the first row of each text."""
    labels: dict[str, object] = {}
    rows: list[int] = []
    conflicting = 0
    for row, (text, label) in enumerate(zip(split.texts, split.labels.tolist(), strict=True)):
        if text not in labels:
            labels[text] = label
            rows.append(row)
        elif labels[text] != label:
            conflicting += 1
    return Unique(np.array(rows, dtype=np.int64), len(split) - len(rows) - conflicting, conflicting)


@dataclass(frozen=True)
class Fresh:
    """The rows that stay of a split, and how many recur in held-out texts exactly, or but for case and punctuation."""

    rows: Rows
    exact: int
    normalized: int


def not_in(texts: Sequence[str], held_out: Iterable[str]) -> Fresh:
    """Keep the texts that do not recur among the held-out ones."""
    exact = set(held_out)
    keys = {key(text) for text in exact}
    rows: list[int] = []
    copies = 0
    for row, text in enumerate(texts):
        if text in exact:
            copies += 1
        elif key(text) not in keys:
            rows.append(row)
    return Fresh(np.array(rows, dtype=np.int64), copies, len(texts) - len(rows) - copies)
