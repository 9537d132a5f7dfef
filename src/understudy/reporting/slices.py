"""Where a student loses most against its teacher: parts of the test split by length, gold label and unknown words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..estimates import paired_shares
from .examples import MOST, Examples
from .formats import Cell, percent, points
from .questions import right
from .tables import Table
from .view import Evidence, Model

FEWEST = 20  # texts of a slice: fewer say nothing, and would widen the intervals of the others
_LEVEL = 0.95  # at which all intervals of a table hold together

Rows = NDArray[np.bool_]


@dataclass(frozen=True)
class Slice:
    """Some of the texts: what share of them each of the two gets right, and the difference, student − teacher."""

    about: str
    n: int
    student: float
    teacher: float
    difference: Mapping[str, Any]  # value and ci95

    @property
    def certain(self) -> bool:
        """Whether the student is worse there, however many slices were looked at."""
        return bool(self.difference["ci95"][1] < 0)


def slices(evidence: Evidence, examples: Examples, student: Model, teacher: Model) -> list[Slice]:
    """Every slice of at least `FEWEST` texts, the largest loss first.

    Of k slices each has its interval at 1 − 5 %/k (Bonferroni), so that with 95 % all of them hold at once: the worst
    of many would else look bad by chance alone.
    """
    ours, theirs = right(evidence, student), right(evidence, teacher)
    there = [(about, rows) for about, rows in _parts(evidence, examples, student) if rows.sum() >= FEWEST]
    found = []
    for about, rows in there:
        n, gained, lost = int(rows.sum()), int((ours & ~theirs & rows).sum()), int((theirs & ~ours & rows).sum())
        interval = paired_shares(gained, lost, n, 1 - (1 - _LEVEL) / len(there))
        difference = {"value": (gained - lost) / n, "ci95": list(interval)}
        found.append(Slice(about, n, float(ours[rows].mean()), float(theirs[rows].mean()), difference))
    return sorted(found, key=lambda one: one.difference["value"])


def slice_table(evidence: Evidence, found: list[Slice], student: Model, teacher: Model) -> Table:
    """The slices in which the student loses most; those in which it loses nothing are left out."""
    rows = [
        [Cell(one.about), Cell(f"{one.n:,}"), percent(one.student, 1), percent(one.teacher, 1), points(one.difference)]
        for one in found[:MOST]
        if one.difference["value"] < 0
    ]
    ours, theirs = (float(right(evidence, model).mean()) for model in (student, teacher))
    what = "Texts with all labels right" if evidence.kind == "multi" else "Accuracy"
    note = (
        f"{what} in %, and the paired difference in points, student − teacher; on all {len(evidence.labels):,} test "
        f"texts {percent(ours, 1).text} and {percent(theirs, 1).text}. {len(found)} slices of at least {FEWEST} texts "
        "were looked at; the intervals hold for all of them together with 95 % (Bonferroni): only one that lies below "
        "0 shows a loss. Words are parted by white space; unknown: of the tokens that the student reads, those that "
        "its vocabulary lacks; of hashed n-grams, of the words."
    )
    columns = [Cell("Texts"), Cell("n"), Cell("Student", "%"), Cell("Teacher", "%"), Cell("Difference", "points")]
    return Table(f"Where {student['key']} loses most against {teacher['key']}", note, columns, rows)


def _parts(evidence: Evidence, examples: Examples, student: Model) -> Iterator[tuple[str, Rows]]:
    """Names of slices and their rows. They are fixed before any answer is looked at."""
    for index, name in enumerate(evidence.names):
        given: Rows = evidence.labels == index if evidence.kind == "single" else evidence.labels[:, index] == 1
        yield f"gold: {name}", given
    if evidence.kind == "multi":
        yield "gold: no label", evidence.labels.sum(axis=1) == 0
    yield from _by_length(examples.words)
    shares = examples.unknown.get(student["key"].replace("/", "-"))
    if shares is not None and shares.any():
        yield "no unknown token", shares == 0
        yield "up to 10 % of the tokens unknown", (shares > 0) & (shares <= 0.1)
        yield "over 10 % of the tokens unknown", shares > 0.1


def _by_length(words: NDArray[np.int64]) -> Iterator[tuple[str, Rows]]:
    """Quarters of the texts by their number of words; texts of one length stay together."""
    if not len(words) or words.min() == words.max():
        return
    ends = np.unique(np.quantile(words, [0.25, 0.5, 0.75, 1], method="lower"))
    quarter = np.searchsorted(ends, words)
    for number in range(len(ends)):
        rows = quarter == number
        low, high = int(words[rows].min()), int(words[rows].max())
        yield f"{low:,} words" if low == high else f"{low:,} to {high:,} words", rows
