"""What is left out of the splits, counted: texts that recur in val or test, or are related to one of theirs."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

import numpy as np

from .containment import related_rows
from .duplicates import not_in
from .near_duplicates import near_rows
from .splitting import Rows
from .task import Split

CONTAINMENT, NEAR = "containment", "near_duplicates"
_RELATED = {CONTAINMENT: ("contained", related_rows), NEAR: ("near", near_rows)}  # what recurs though no text does

_REASONS = {
    "empty": "rows without a text",
    "duplicate": "repeated texts",
    "conflicting": "repeated texts with another label than the first",
    "held_out": "texts that recur in val or test",
    "held_out_normalized": "texts that recur in val or test but for case and punctuation",
    "contained": "texts that occur inside a text of val or test, or have one inside",
    "near": "texts whose words are nearly those of a text of val or test",
    "grouped": "texts of groups that val or test has",
    "in_train": "texts that are in train",
}


@dataclass
class Tally:
    """What was left out of which split, and why."""

    dropped: dict[str, dict[str, int]] = field(default_factory=dict)

    def drop(self, split: str, reason: str, count: int) -> None:
        if count:
            reasons = self.dropped.setdefault(split, {})
            reasons[reason] = reasons.get(reason, 0) + count

    def warnings(self) -> list[str]:
        """One line per split and reason; what was asked for, limits and lengths, is none."""
        return [
            f"{split}: {count} {_REASONS[reason]} dropped"
            for split, reasons in self.dropped.items()
            for reason, count in reasons.items()
            if reason in _REASONS
        ]


def take(split: Split, groups: list[Hashable] | None, rows: Rows) -> tuple[Split, list[Hashable] | None]:
    return split.take(rows), None if groups is None else [groups[row] for row in rows]


def without(
    split: Split, groups: list[Hashable] | None, held_out: Iterable[Split], group_by: str, tally: Tally
) -> tuple[Split, list[Hashable] | None]:
    """Drop the texts that the held-out splits have too, and those related to them in the way of `group_by`."""
    texts = [text for other in held_out for text in other.texts]
    fresh = not_in(split.texts, texts)
    tally.drop(split.name, "held_out", fresh.exact)
    tally.drop(split.name, "held_out_normalized", fresh.normalized)
    split, groups = take(split, groups, fresh.rows)
    if group_by in _RELATED:
        reason, related_to = _RELATED[group_by]
        related = related_to(split.texts, texts)
        tally.drop(split.name, reason, len(related))
        split, groups = take(split, groups, np.setdiff1d(np.arange(len(split)), related))
    return split, groups
