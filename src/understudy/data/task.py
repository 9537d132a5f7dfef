"""The nouns of the data: a task, its splits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

UNLABELED = -1

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """What is decided: the label names, in the order of every model's outputs, and the metric that counts."""

    name: str
    labels: tuple[str, ...]
    metric: Literal["accuracy", "macro_f1", "macro_recall"] = "accuracy"
    kind: Literal["single"] = "single"


@dataclass(frozen=True)
class Split:
    """Texts in a fixed order; `labels` are indices into the task's labels, `UNLABELED` where there is none."""

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
