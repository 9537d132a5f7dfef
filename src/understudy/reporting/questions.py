"""A test as questions with one answer per text: which label, or of several labels, for each whether it applies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..answers import Answers
from ..data.task import Labels
from .view import Evidence, Model


@dataclass(frozen=True)
class Question:
    """What is asked of every text. Its possible answers are numbered; `gold` has the given one of each text, (n,)."""

    about: str  # the label that may apply; nothing where one label is chosen of all
    answers: Sequence[str]
    gold: Labels
    label: int | None = None

    def probabilities(self, of: Answers) -> NDArray[np.float64]:
        """A model's calibrated probability of each answer, (n, answers)."""
        if self.label is None:
            return of.probabilities
        applies = of.probabilities[:, self.label]
        return np.stack([1 - applies, applies], axis=1)

    def chosen(self, of: Answers) -> Labels:
        """A model's answers, (n,); of several labels by the thresholds that ship."""
        return of.labels if self.label is None else of.labels[:, self.label]


def questions(evidence: Evidence) -> Iterator[Question]:
    """One for a task of one label per text, else one for each label."""
    if evidence.kind == "single":
        yield Question("", evidence.names, evidence.labels)
        return
    for index, name in enumerate(evidence.names):
        yield Question(name, ("no", "yes"), evidence.labels[:, index], index)


def right(evidence: Evidence, model: Model) -> NDArray[np.bool_]:
    """Which texts a model answers as gold does, (n,): of several labels, all of them."""
    same: NDArray[np.bool_] = evidence.answers(model).labels == evidence.labels
    return same if same.ndim == 1 else np.all(same, axis=1)
