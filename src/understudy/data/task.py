"""The nouns of the data: a task, its splits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..kinds import SEPARATOR
from ..kinds import Kind as Kind

UNLABELED = -1

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """What is decided: the label names, in the order of every model's outputs, and the metric that counts."""

    name: str
    labels: tuple[str, ...]
    metric: str = "accuracy"
    kind: Kind = "single"

    @property
    def multi(self) -> bool:
        """Whether any number of labels may apply to a text."""
        return self.kind == "multi"

    def unlabeled(self, rows: int) -> Labels:
        """The labels of texts that have none."""
        return np.full((rows, len(self.labels)) if self.multi else rows, UNLABELED, dtype=np.int64)

    def named(self, labels: Labels) -> list[str | None]:
        """The label of each text as one cell of a table has it, of several all of them; None where there is none."""
        if not self.multi:
            return [None if label == UNLABELED else self.labels[label] for label in labels]
        return [
            None
            if UNLABELED in row
            else SEPARATOR.join(label for label, there in zip(self.labels, row, strict=True) if there)
            for row in labels
        ]


@dataclass(frozen=True)
class Split:
    """Texts in a fixed order; `labels` are indices into the task's labels, `UNLABELED` where there is none.

    Of a multi-label task they are (n, labels): 1 where the label applies, 0 where not, rows of `UNLABELED`.
    """

    name: str
    ids: Sequence[str]
    texts: Sequence[str]
    labels: Labels = field(repr=False)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def labeled(self) -> bool:
        """Whether there are texts and every one has a label."""
        return bool(len(self)) and not bool((self.labels == UNLABELED).any())

    def take(self, rows: Iterable[int]) -> Split:
        """The given rows, in the given order."""
        chosen = [int(row) for row in rows]
        return Split(
            self.name,
            [self.ids[row] for row in chosen],
            [self.texts[row] for row in chosen],
            self.labels[np.asarray(chosen, dtype=np.int64)],
        )
