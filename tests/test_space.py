"""[tune] of a recipe: what may be searched, and how a range that cannot be is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from understudy.config import CutStudent, Recipe, TextCNNStudent, parse
from understudy.errors import RecipeError
from understudy.space import STUDENT_ALONE, Dimension, TuneConfig, search_space

RAW: dict[str, Any] = {
    "task": {"name": "mood", "labels": ["bad", "good"]},
    "data": {"train": "train.csv"},
    "students": [{"name": "cut", "kind": "cut"}, {"name": "cnn", "kind": "textcnn"}],
}


def read(data: dict[str, Any] | None = None, **tune: Any) -> Recipe:
    return parse(Recipe, copy.deepcopy(RAW | {"tune": tune, "data": {"train": "train.csv"} | (data or {})}), "r.toml")


def refusal(**changes: Any) -> str:
    with pytest.raises(RecipeError) as error:
        read(**changes)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix("r.toml: ")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"temprature": {"low": 1, "high": 2}}, "unknown key 'tune.space.temprature'; did you mean 'temperature'?"),
        ({"min_count": {"low": 1, "high": 2}}, "unknown key 'tune.space.min_count'"),  # of another kind of student
        ({"limit": {"low": 10, "high": 20}}, f"tune.space.limit: {STUDENT_ALONE}"),
        ({"data.limit": {"low": 10, "high": 20}}, f"tune.space.data.limit: {STUDENT_ALONE}"),
        ({"quantize": {"samples": {"low": 16, "high": 32}}}, f"tune.space: quantize.samples: {STUDENT_ALONE}"),
        ({"seed": {"choices": [1, 2]}}, f"tune.space.seed: {STUDENT_ALONE}"),
        ({"epochs": {"lo": 1, "high": 2}}, "unknown key 'tune.space.epochs.lo'; did you mean 'low'?"),
        (
            {"name": {"choices": ["a", "b"]}},
            "tune.space.name: says which student is searched, and cannot be searched itself",
        ),
        ({"epochs": 3}, "tune.space.epochs: input should be a table, got 3"),
        ({"epochs": {}}, "tune.space.epochs: give low and high, or choices"),
        ({"epochs": {"low": 1}}, "tune.space.epochs: give low and high, or choices"),
        ({"epochs": {"low": 1, "choices": [1, 2]}}, "tune.space.epochs: give either choices or low and high"),
        (
            {"epochs": {"choices": [1, 1]}},
            "tune.space.epochs: choices must be two or more different values, got [1, 1]",
        ),
        ({"epochs": {"choices": [1]}}, "tune.space.epochs: choices must be two or more different values, got [1]"),
        ({"epochs": {"low": 3, "high": 3}}, "tune.space.epochs: low must be below high, got 3 and 3"),
        ({"soft_weight": {"low": 0, "high": 1, "log": True}}, "tune.space.soft_weight: log needs a low above 0, got 0"),
        ({"epochs": {"low": 1, "high": 2.5}}, "tune.space.epochs: takes whole numbers, got 1 and 2.5"),
        ({"epochs": {"low": 0, "high": 2}}, "tune.space.epochs: input should be greater than or equal to 1, got 0"),
        (
            {"soft_weight": {"low": 0, "high": 1.5}},
            "tune.space.soft_weight: input should be less than or equal to 1, got 1.5",
        ),
        (
            {"schedule": {"choices": ["linear", "step"]}},
            "tune.space.schedule: input should be 'linear', 'cosine', 'constant' or 'plateau', got 'step'",
        ),
        ({"schedule": {"low": 1, "high": 2}}, "tune.space.schedule: is not a number; give choices"),
        (
            {"layers": {"choices": [2, []]}},
            "tune.space.layers: must be how many (at least 1) or a list of distinct layers (from 0), got []",
        ),
    ],
)
def test_a_range_that_cannot_be_searched(space: dict[str, Any], message: str) -> None:
    assert refusal(space=space) == message


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ({"student": "small"}, "tune.student: the recipe has no student 'small'; it has cut, cnn"),
        ({"folds": 1}, "tune: folds must be 0 or at least 2, got 1"),
        ({"trials": 0}, "tune.trials: input should be greater than or equal to 1, got 0"),
        ({"sampler": "bayes"}, "tune.sampler: input should be 'tpe', 'grid' or 'random', got 'bayes'"),
        ({"smapler": "tpe"}, "unknown key 'tune.smapler'; did you mean 'sampler'?"),
        (
            {"folds": 3, "data": {"group_by": "author"}},
            "tune.folds would part the groups of data.group_by: set folds = 0",
        ),
        ({"sampler": "grid"}, "tune.space.temperature: the grid sampler needs choices or a range of whole numbers"),
    ],
)
def test_a_search_that_cannot_be_done(tune: dict[str, Any], message: str) -> None:
    assert refusal(**tune) == message


def test_the_student_is_the_named_or_the_first_one() -> None:
    assert read().tuned.name == "cut"
    assert read(student="cnn", space={"filters": {"low": 1, "high": 2}}).tuned.name == "cnn"


def test_ranges_become_what_the_key_is() -> None:
    space = {
        "epochs": {"low": 2, "high": 4.0},
        "learning_rate": {"low": 1e-5, "high": 1, "log": True},
        "layers": {"choices": [1, [0, 3]]},
        "trim_vocabulary": {"choices": [True, False]},
    }
    found = search_space(TuneConfig.model_validate({"space": space}), CutStudent())
    assert found == {
        "epochs": Dimension(2, 4),
        "learning_rate": Dimension(1e-5, 1.0, True),
        "layers": Dimension(choices=(1, [0, 3])),
        "trim_vocabulary": Dimension(choices=(True, False)),
    }
    assert isinstance(found["epochs"].high, int)
    assert found["epochs"].points == (2, 3, 4)
    assert found["learning_rate"].points == ()
    assert (0.5 in found["learning_rate"], 2.0 in found["learning_rate"]) == (True, False)
    assert ([0, 3] in found["layers"], 3 in found["layers"]) == (True, False)
    assert found["epochs"].to_dict() == {"low": 2, "high": 4, "log": False}


@pytest.mark.parametrize("changes", [{}, {"temperature": 12.0, "epochs": 1, "learning_rate": 0.3, "soft_weight": 0.0}])
def test_the_default_space_is_around_the_students_own_settings(changes: dict[str, Any]) -> None:
    student = TextCNNStudent(**changes)
    space = search_space(TuneConfig(), student)
    assert list(space) == ["temperature", "soft_weight", "learning_rate", "epochs"]
    assert all(getattr(student, key) in dimension for key, dimension in space.items())
    assert space["learning_rate"].low == student.learning_rate / 5
    assert space["epochs"].low >= 1


def test_what_only_a_combination_forbids_is_left_to_the_trial() -> None:
    space = {"soft_weight": {"choices": [0.5, 1.0]}, "class_weights": {"choices": ["none", "balanced"]}}
    read(space=space)
