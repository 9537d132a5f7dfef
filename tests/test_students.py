"""Which students a run makes, and which files of each."""

from __future__ import annotations

from typing import Any

import pytest

from understudy.config import Recipe
from understudy.errors import RecipeError
from understudy.students import left_out, only, twins, variants_of

RAW: dict[str, Any] = {
    "task": {"name": "mood", "labels": ["bad", "good"]},
    "data": {"train": "train.csv"},
    "students": [
        {"name": "a", "kind": "cut", "hidden_weight": 1.0},
        {"name": "b", "kind": "textcnn"},
        {"name": "c", "kind": "bilstm"},
    ],
}


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate(RAW | changes)


@pytest.mark.parametrize(
    ("names", "made"),
    [(["all"], ["a", "b", "c"]), (["b"], ["b"]), (["c", "a"], ["a", "c"]), (["b", "all"], ["a", "b", "c"])],
)
def test_the_students_that_are_named_are_made_in_the_order_of_the_recipe(names: list[str], made: list[str]) -> None:
    whole = recipe()
    some = only(whole, names)
    assert [student.name for student in some.students] == made
    assert all(student in whole.students for student in some.students)
    assert some.labelling == whole.labelling  # with the hidden states that `a` needs, whoever is made now
    assert whole.labelling.hidden_states


def test_a_name_that_no_student_has() -> None:
    with pytest.raises(RecipeError) as error:
        only(recipe(), ["b", "bb"])
    assert str(error.value) == "--students: the recipe has no student 'bb'; it has a, b, c"


@pytest.mark.parametrize(
    ("controls", "names", "expected"),
    [
        ("first", ["all"], ["a"]), ("first", ["a", "c"], ["a"]), ("first", ["b", "c"], []), ("all", ["b"], ["b"]),
        ("none", ["a"], []),
    ],
)  # fmt: skip
def test_a_students_twin_comes_with_it(controls: str, names: list[str], expected: list[str]) -> None:
    assert [twin.student.name for twin in twins(only(recipe(controls=controls), names))] == expected


def test_a_file_that_torch_cannot_write_is_left_out_of_one_student() -> None:
    found = recipe(variants=["fp32", "exported", "torchscript"])
    files = {student.name: variants_of(student, found) for student in found.students}
    assert files == {"a": found.variants, "b": found.variants, "c": ["fp32", "torchscript"]}
    assert left_out(found) == ["exported of c was left out: torch.export cannot write a bilstm student"]
    assert left_out(recipe()) == []
