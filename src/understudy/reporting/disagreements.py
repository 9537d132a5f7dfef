"""Where a student and its teacher answer differently, the most confident of both first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .examples import MOST, Examples
from .formats import Cell, percent
from .questions import Question, questions, right
from .tables import Table
from .view import Evidence, Model


@dataclass(frozen=True)
class Disagreement:
    """A text and a question that the two answer differently, each with its calibrated probability of its own answer."""

    row: int
    question: Question
    student: tuple[str, float]
    teacher: tuple[str, float]


def disagreements(evidence: Evidence, student: Model, teacher: Model) -> list[Disagreement]:
    """All of them, those first in which the less confident of the two is the most confident."""
    found = []
    for question in questions(evidence):
        one, other = (evidence.answers(model) for model in (student, teacher))
        ours, theirs = question.chosen(one), question.chosen(other)
        sure, surer = question.probabilities(one), question.probabilities(other)
        found += [
            Disagreement(
                row, question, (question.answers[ours[row]], float(sure[row, ours[row]])),
                (question.answers[theirs[row]], float(surer[row, theirs[row]])),
            )
            for row in np.flatnonzero(ours != theirs).tolist()
        ]  # fmt: skip
    return sorted(found, key=lambda one: -min(one.student[1], one.teacher[1]))


def disagreement_table(evidence: Evidence, examples: Examples, student: Model, teacher: Model) -> Table:
    """The first of them, with what gold says."""
    several = evidence.kind == "multi"
    found = disagreements(evidence, student, teacher)
    rows = [
        [
            *examples.cells(one.row), *([Cell(one.question.about)] if several else []),
            Cell(one.question.answers[one.question.gold[one.row]]), _answer(*one.student), _answer(*one.teacher),
        ]
        for one in found[:MOST]
    ]  # fmt: skip
    what = "whether a label applies" if several else "the label"
    note = (
        f"Test texts on which {student['key']} and {teacher['key']} differ in {what}, with the calibrated probability, "
        "in %, that each gives its own answer; those first of which the less sure of the two is the surest. "
        f"{min(MOST, len(found))} of {len(found):,}{' such answers' if several else ''}."
    )
    columns = [*examples.columns, *([Cell("Label")] if several else []), Cell("Gold"), Cell("Student"), Cell("Teacher")]
    return Table(f"Most confident disagreements of {student['key']}", note, columns, rows, len(columns))


def counts(evidence: Evidence, student: Model, teacher: Model) -> Mapping[str, int]:
    """On how many texts the two differ, and who is right there; of several labels, about all of a text."""
    ours, theirs = (evidence.answers(model).labels for model in (student, teacher))
    differ = ours != theirs if ours.ndim == 1 else (ours != theirs).any(axis=1)
    mine, hers = (right(evidence, model)[differ] for model in (student, teacher))
    return {
        "different": int(differ.sum()), "teacher": int(hers.sum()), "student": int(mine.sum()),
        "neither": int((~hers & ~mine).sum()),
    }  # fmt: skip


def _answer(name: str, probability: float) -> Cell:
    return Cell(name, f"{percent(probability, 1).text} %")
