"""What went wrong: where students answer otherwise than their teacher, where they lose, and where gold may be wrong."""

from __future__ import annotations

from typing import Any

from .disagreements import counts, disagreement_table
from .examples import Examples
from .formats import Cell, percent, points
from .label_errors import LabelError, label_error_table, label_errors
from .questions import right
from .slices import Slice, slice_table, slices
from .tables import Table
from .view import Evidence, Model, Results, bag_of_words_of, best_student, shown, teacher_of


def mistakes(results: Results, evidence: Evidence, examples: Examples) -> dict[str, Any]:
    """`said`, sentences, and `tables`: in full of the best student, in a row of each other one.

    Both are empty where the answers of a teacher and a student were not stored.
    """
    teacher, (best, _) = teacher_of(results), best_student(results)
    if not teacher or not best or not {teacher["key"], best["key"]} <= evidence.logits.keys():
        return {"said": [], "tables": []}
    others = [model for model in _voters(results) if model["key"] in evidence.logits]
    wrong_labels = label_errors(evidence, teacher, others)
    students = [model for model in shown(results) if model["role"] == "student" and model["key"] in evidence.logits]
    losses = {model["key"]: slices(evidence, examples, model, teacher) for model in students}
    tables = [
        disagreement_table(evidence, examples, best, teacher),
        slice_table(evidence, losses[best["key"]], best, teacher),
        _others_table(evidence, [model for model in students if model is not best], losses, teacher),
        label_error_table(evidence, examples, wrong_labels, teacher, others),
    ]
    said = [
        _about_answers(evidence, best, teacher), _about_slices(losses[best["key"]], best),
        _about_labels(evidence, wrong_labels, best) if others else "", *_missing(examples),
    ]  # fmt: skip
    # No line may begin with the sign.
    unbroken = [sentence.replace(" %", "\u00a0%") for sentence in said if sentence]
    return {"said": unbroken, "tables": [table for table in tables if table.rows]}


def _voters(results: Results) -> list[Model]:
    """Who is asked about a label beside the teacher: the students, and those that learnt from gold labels alone."""
    students = [model for model in shown(results) if model["role"] == "student"]
    twins = [model for model in results["models"] if model["name"].endswith("-no-teacher")]
    bag = bag_of_words_of(results)
    return [*students, *twins, *([bag] if bag else [])]


def _about_answers(evidence: Evidence, student: Model, teacher: Model) -> str:
    found, n = counts(evidence, student, teacher), len(evidence.labels)
    share = percent(found["different"] / n, 1).text
    neither = f", neither {_times(found['neither'])}" if found["neither"] else ""
    return (
        f"{student['key']} and {teacher['key']} answer {found['different']:,} of {n:,} test texts ({share} %) "
        f"differently: there the teacher is right {_times(found['teacher'])}, the student "
        f"{_times(found['student'])}{neither}."
    )


def _about_slices(found: list[Slice], student: Model) -> str:
    certain = [f"{one.about} ({_points(one)}, n = {one.n:,})" for one in found if one.certain]
    if certain:
        return f"{student['key']} loses more than chance explains on the texts of: {'; '.join(certain[:3])}."
    return f"In none of {len(found)} slices does {student['key']} lose more than chance explains." if found else ""


def _about_labels(evidence: Evidence, found: list[LabelError], student: Model) -> str:
    rows = sorted({one.row for one in found})
    if not rows:
        return "No test text looks mislabelled."
    wrong = ~right(evidence, student)
    share = percent(len(rows) / len(wrong), 1).text
    return (
        f"{len(rows):,} of {len(wrong):,} test texts ({share} %) may be mislabelled: the teacher and other models are "
        f"sure of another label. They are {int(wrong[rows].sum()):,} of the {int(wrong.sum()):,} mistakes of "
        f"{student['key']}."
    )


def _missing(examples: Examples) -> list[str]:
    said = [] if examples.texts else ["Ids stand for the texts: [benchmark] predictions = true shows them."]
    if not len(examples.words):
        said.append("This benchmark stored no lengths of texts: run it again for slices by length and unknown words.")
    return said


def _others_table(evidence: Evidence, students: list[Model], losses: dict[str, list[Slice]], teacher: Model) -> Table:
    rows = []
    for model in students:
        found = counts(evidence, model, teacher)
        numbers = [Cell(f"{found[name]:,}") for name in ("different", "teacher", "student", "neither")]
        worst = losses[model["key"]][:1]
        where = [Cell(worst[0].about, f"n = {worst[0].n:,}"), points(worst[0].difference)] if worst else [Cell("–")] * 2
        rows.append([Cell(model["key"]), *numbers, *where])
    note = (
        f"Test texts, of {len(evidence.labels):,}, that the student and {teacher['key']} answer differently, and who "
        "is right there; the slice in which the student loses most, with the difference in points, its interval for "
        "all slices of that student together."
    )
    columns = [
        Cell("Student"), Cell("Differently"), Cell("Teacher right"), Cell("Student right"), Cell("Neither"),
        Cell("Loses most"), Cell("Difference", "points"),
    ]  # fmt: skip
    return Table("The other students against their teacher", note, columns, rows)


def _points(one: Slice) -> str:
    cell = points(one.difference)
    return f"{cell.text} points, {cell.detail}"


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count:,} times")
