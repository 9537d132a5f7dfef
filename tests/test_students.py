"""Which students a run makes, and which files of each."""

from __future__ import annotations

from typing import Any

import pytest

from understudy.config import Recipe
from understudy.errors import RecipeError
from understudy.students import left_out, only, seeded, twin_homes, twins, variants_of

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


def test_twins_are_those_that_are_asked_for_and_where_hard_labels_would_change_nothing_there_is_no_such_twin() -> None:
    students = [*RAW["students"], {"name": "d", "kind": "bigru", "soft_weight": 0.0}]
    students.append({"name": "e", "kind": "bigru", "loss": "hard"})
    whole = recipe(controls="all", students=students, twins=["no-teacher", "hard-label"])
    names = [twin.name for twin in twins(whole)]
    assert names == [f"{n}-{how}" for n in "abc" for how in ("no-teacher", "hard-label")] + [
        "d-no-teacher", "e-no-teacher"
    ]  # fmt: skip
    soft, hard = twins(whole)[:2]
    assert soft.settings == soft.student and not soft.use_teacher and hard.use_teacher
    changed = {key for key, value in hard.settings.model_dump().items() if value != hard.student.model_dump()[key]}
    assert changed == {"name", "loss", "hidden_weight"} and hard.settings.loss == "hard"
    assert [twin.name for twin in twins(recipe(twins=["hard-label"]))] == ["a-hard-label"]


def test_seeds_follow_the_first_and_only_they_move() -> None:
    one, several = recipe(seed=20), recipe(seed=20, seeds=3)
    assert [(place, again.seed) for place, again in seeded(one)] == [("", 20)]
    assert [(place, again.seed) for place, again in seeded(several)] == [("", 20), ("/seeds/21", 21), ("/seeds/22", 22)]
    assert all(again.model_copy(update={"seed": 20}) == several for _, again in seeded(several))
    assert [home for _, home, _ in twin_homes(several)] == [
        "controls/a-no-teacher", "controls/a-no-teacher/seeds/21", "controls/a-no-teacher/seeds/22"
    ]  # fmt: skip


def test_keys_that_came_later_leave_the_settings_of_older_recipes_as_they_were() -> None:
    dumped = recipe().model_dump()
    assert not {"seeds", "twins"} & set(dumped) and "margin" not in dumped["benchmark"]
    assert recipe(seeds=2).model_dump()["seeds"] == 2
    assert recipe(benchmark={"margin": 0.5}).model_dump()["benchmark"]["margin"] == 0.5
