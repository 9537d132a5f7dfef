"""Which labels a text's probabilities mean: as the artifact decides, or as a person asks at prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .data.task import Task
from .decision import Decision
from .errors import InputError

ABSTAINED = "abstained"  # what is said instead of a label

Row = NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """What becomes of a row of calibrated probabilities, (labels,).

    Of one label per text it is the likeliest one, unless `watched`, a label and a threshold, is there: that label from
    its threshold on, the likeliest of the others below it. A label less probable than `abstain_below` is not given.
    """

    task: Task
    decision: Decision
    abstain_below: float = 0.0
    watched: tuple[int, float] | None = None

    def labels(self, row: Row) -> tuple[str, ...]:
        """The labels that apply: one, or none of a text that is abstained from; in a multi-label task any number."""
        if not self.task.multi:
            return () if self.abstains(row) else (self.task.labels[self._best(row)],)
        return tuple(label for label, there in zip(self.task.labels, self.decision.applies(row), strict=True) if there)

    def label(self, row: Row) -> str:
        """The label, or "abstained"; in a multi-label task the likeliest one."""
        return ABSTAINED if self.abstains(row) else self.task.labels[self._best(row)]

    def confidence(self, row: Row) -> float:
        """The probability of the label, or of that which was not sure enough."""
        return float(row[self._best(row)])

    def answer(self, row: Row) -> dict[str, float]:
        """What is said of a text, with its probability: the label or "abstained", or the labels that apply."""
        if not self.task.multi:
            return {self.label(row): self.confidence(row)}
        return {label: float(row[self.task.labels.index(label)]) for label in self.labels(row)}

    def abstains(self, row: Row) -> bool:
        """Whether no label is sure enough."""
        return self.confidence(row) < self.abstain_below

    def _best(self, row: Row) -> int:
        if self.watched is None:
            return int(row.argmax())
        label, threshold = self.watched
        if row[label] >= threshold:
            return label
        return int(np.where(np.arange(len(row)) == label, -1.0, row).argmax())


def asked_for(
    task: Task, decision: Decision, abstain_below: float | None = None, thresholds: Mapping[str, float] | None = None
) -> Choice:
    """The choice that a person asks for; raises InputError for what this task cannot be asked."""
    thresholds = thresholds or {}
    for name, value in {**thresholds, "": abstain_below}.items():
        if value is not None and not 0 < value <= 1:
            what = f"the threshold of {name}" if name else "abstain_below"
            raise InputError(f"{what} is a probability above 0 and at most 1, got {value:g}")
    if unknown := [label for label in thresholds if label not in task.labels]:
        raise InputError(f"a threshold of {unknown[0]!r}: the labels are {', '.join(task.labels)}")
    if task.multi:
        if abstain_below is not None:
            raise InputError("abstain_below is for one label per text; here a text may have none, by its thresholds")
        before = dict(zip(task.labels, decision.thresholds or [0.5] * len(task.labels), strict=True))
        return Choice(task, replace(decision, thresholds=tuple({**before, **thresholds}.values())))
    if len(thresholds) > 1 or (thresholds and abstain_below is not None):
        raise InputError("of one label per text, give one threshold or abstain_below: together they could contradict")
    if abstain_below is not None and ABSTAINED in task.labels:
        raise InputError(f"the task has a label {ABSTAINED!r}, which could not be told from no answer")
    watched = next(((task.labels.index(label), value) for label, value in thresholds.items()), None)
    return Choice(task, decision, abstain_below or 0.0, watched)
