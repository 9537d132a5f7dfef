"""Test texts whose gold label is likely wrong, found by confident learning (Northcutt, Jiang and Chuang 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.task import Labels
from .examples import MOST, Examples
from .formats import Cell, percent
from .questions import Question, questions
from .tables import Table
from .view import Evidence, Model

_NOBODY = -1


@dataclass(frozen=True)
class LabelError:
    """A text and a question whose given answer is disputed: by how many models, in favour of what."""

    row: int
    question: Question
    instead: int
    models: int
    probability: float  # of the given answer: the mean of these models


def disputed(probabilities: NDArray[np.float64], gold: Labels) -> Labels:
    """What a model confidently says in place of the gold answer, −1 where it does not dispute it: (n, answers), (n,).

    The threshold of an answer is the model's mean probability of it over the texts that have it as gold:
    t_j = mean(p_j(x) : gold(x) = j). A text's gold answer i is disputed in favour of j ≠ i if p_j is the largest of
    those that reach their threshold, and p_i < t_i/2. The first is confident learning's count of label errors, in
    which a model that is unsure of an answer everywhere needs less to stand by it; the second asks for distance.
    Both need probabilities of texts that the model did not learn from: a test split's are such.
    """
    given = [gold == answer for answer in range(probabilities.shape[1])]
    thresholds = np.array([
        probabilities[rows, answer].mean() if rows.any() else np.inf for answer, rows in enumerate(given)
    ])  # fmt: skip
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    best = confident.argmax(axis=1)
    stated = probabilities[np.arange(len(gold)), gold]
    doubted = (best != gold) & (confident.max(axis=1) >= 0) & (stated < thresholds[gold] / 2)
    return np.where(doubted, best, _NOBODY)


def label_errors(evidence: Evidence, teacher: Model, others: Sequence[Model]) -> list[LabelError]:
    """Where the teacher and at least half of the others, one of them at least, dispute gold in favour of one answer.

    Those first to which these models give the gold answer the least probability.
    """
    found = []
    for question in questions(evidence):
        models = [evidence.answers(model) for model in (teacher, *others)]
        shares = np.stack([question.probabilities(answers) for answers in models])
        votes = np.stack([disputed(of_model, question.gold) for of_model in shares])
        agree = (votes == votes[0]) & (votes[0] != _NOBODY)
        enough = agree.sum(axis=0) >= 1 + max(1, -(-len(others) // 2))
        for row in np.flatnonzero(enough).tolist():
            stated = float(shares[agree[:, row], row, question.gold[row]].mean())
            found.append(LabelError(row, question, int(votes[0, row]), int(agree[:, row].sum()), stated))
    return sorted(found, key=lambda one: one.probability)


def label_error_table(
    evidence: Evidence, examples: Examples, found: list[LabelError], teacher: Model, others: Sequence[Model]
) -> Table:
    """The first of them."""
    several = evidence.kind == "multi"
    rows = [
        [
            *examples.cells(one.row), *([Cell(one.question.about)] if several else []),
            Cell(one.question.answers[one.question.gold[one.row]], f"{percent(one.probability, 1).text} %"),
            Cell(one.question.answers[one.instead]), Cell(f"{one.models} of {1 + len(others)}"),
        ]
        for one in found[:MOST]
    ]  # fmt: skip
    names = ", ".join(model["key"] for model in others)
    note = (
        f"{min(MOST, len(found))} of {len(found):,}. {teacher['key']} and at least half of the others ({names}) are "
        "sure of the same other answer (confident learning): its calibrated probability is at least the mean of the "
        "texts that have it as gold, and that of the gold answer, given here, less than half of the mean of its own. "
        "Students repeat their teacher's mistakes: read the texts before you change a label."
    )
    columns = [
        *examples.columns, *([Cell("Label")] if several else []), Cell("Gold", "its probability"), Cell("Rather"),
        Cell("Models"),
    ]  # fmt: skip
    return Table("Likely label errors", note, columns, rows, len(columns) - 1)
