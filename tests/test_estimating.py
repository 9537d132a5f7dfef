"""--dry-run: what is there stays, what an edit reaches is to do, and nothing is written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from understudy.config import BiGRUStudent, BiLSTMStudent, GatedCNNStudent, Recipe, TextCNNStudent, load_recipe
from understudy.errors import RecipeError
from understudy.estimating import Forecast, estimate
from understudy.pipeline import run
from understudy.progress import Silent
from understudy.sizes import Size, student_size
from understudy.student_settings import WordStudent


@pytest.fixture
def recipe(workshop: Path) -> Recipe:
    return load_recipe(workshop / "recipe.toml")


def to_do(forecast: Forecast) -> set[str]:
    return {name for name, there in forecast.steps if not there}


def edited(recipe: Recipe, section: str, **changes: Any) -> Recipe:
    return recipe.model_copy(update={section: getattr(recipe, section).model_copy(update=changes)})


def test_a_finished_run_has_nothing_to_do(recipe: Recipe, finished_run: Path, workshop: Path) -> None:
    forecast = estimate(recipe, finished_run, workshop)
    assert (to_do(forecast), forecast.teacher_calls, forecast.seconds) == (set(), 0, 0.0)


def test_an_edit_reaches_what_comes_after_it(
    recipe: Recipe, finished_run: Path, workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.estimating._products_per_second", lambda: 1e9)
    whole = estimate(recipe, workshop / "absent", workshop)
    names = {name for name, _ in whole.steps}
    students = [s.model_copy(update={"temperature": 4.0}) if s.name == "cnn" else s for s in recipe.students]
    student = estimate(recipe.model_copy(update={"students": students}), finished_run, workshop)
    expected = {name for name in names if name.startswith("students/cnn/")} | {"benchmark", "model cards", "report"}
    assert (to_do(student), student.teacher_calls) == (expected, 0)
    teacher = estimate(edited(recipe, "teacher", epochs=6), finished_run, workshop)
    assert (to_do(teacher), teacher.teacher_calls) == (names - {"data"}, 630)
    assert to_do(estimate(edited(recipe, "benchmark", repeats=2), finished_run, workshop)) == {
        "benchmark", "model cards", "report"
    }  # fmt: skip
    folds = [estimate(edited(recipe, "label", folds=count), finished_run, workshop) for count in (2, 4)]
    assert to_do(folds[0]) == {name for name in names if "/" in name} | {"labels", "benchmark", "model cards", "report"}
    assert folds[0].teacher_calls == 630
    assert folds[1].seconds - folds[0].seconds > 2 * (teacher.seconds - whole.seconds)  # at least an epoch more twice
    assert to_do(estimate(recipe.model_copy(update={"seed": 6}), finished_run, workshop)) == names
    assert 0 < student.seconds < whole.seconds < teacher.seconds  # it has an epoch more


def test_other_data_reaches_everything(recipe: Recipe, finished_run: Path, workshop: Path, tmp_path: Path) -> None:
    shutil.copyfile(workshop / "train.csv", tmp_path / "train.csv")
    assert not to_do(estimate(recipe, finished_run, tmp_path))
    with (tmp_path / "train.csv").open("a", encoding="utf-8") as file:
        file.write("one more film,good\n")
    forecast = estimate(recipe, finished_run, tmp_path)
    assert to_do(forecast) == {name for name, _ in forecast.steps}


@pytest.mark.parametrize("layers", [3, [0, 2]])
def test_a_cut_that_the_teacher_cannot_give_is_refused_before_any_work(
    recipe: Recipe, workshop: Path, tmp_path: Path, layers: int | list[int]
) -> None:
    students = [s.model_copy(update={"layers": layers}) if s.name == "half" else s for s in recipe.students]
    greedy = recipe.model_copy(update={"students": students})
    message = re.escape(f"layers = {layers}, but the teacher has 2 layers (0 to 1); lower it")
    with pytest.raises(RecipeError, match=message):
        estimate(greedy, tmp_path / "out", workshop)
    with pytest.raises(RecipeError, match=message):
        run(greedy, tmp_path / "out", workshop, Silent())
    assert not (tmp_path / "out" / "teacher").exists()


def test_a_layer_map_that_does_not_fit_is_refused_before_any_work(
    recipe: Recipe, workshop: Path, tmp_path: Path
) -> None:
    changes = {"hidden_weight": 1.0, "layer_map": [0, 1]}
    students = [s.model_copy(update=changes) if s.name == "fresh" else s for s in recipe.students]
    message = re.escape("layer_map = [0, 1]: expected one layer of the teacher (0 to 1) for each of the student's 1")
    with pytest.raises(RecipeError, match=message):
        estimate(recipe.model_copy(update={"students": students}), tmp_path / "out", workshop)


@pytest.mark.parametrize(
    "student",
    [
        TextCNNStudent(),
        BiLSTMStudent(layers=1),
        BiLSTMStudent(layers=3, units=64),
        BiGRUStudent(layers=2),
        GatedCNNStudent(blocks=3, channels=50),
    ],
    ids=repr,
)
def test_the_size_of_a_word_network_is_that_of_its_weights(student: WordStudent) -> None:
    from understudy.training.word_networks import fresh

    module = fresh(student, student.vocabulary, 2)
    size = student_size(student, Size(0, 0))
    assert size.parameters == pytest.approx(sum(p.numel() for p in module.parameters()), rel=2e-3)
    assert size.per_token == size.parameters - student.vocabulary * student.width


def test_twins_take_disk_too(recipe: Recipe, workshop: Path) -> None:
    sizes = [
        estimate(recipe.model_copy(update={"controls": controls}), workshop / "absent", workshop).disk_bytes
        for controls in ("none", "first", "all")
    ]
    assert sizes == sorted(set(sizes))


def test_predictions_take_disk_too(recipe: Recipe, finished_run: Path, workshop: Path) -> None:
    """About as much as they take in the finished run."""
    sizes = [
        estimate(edited(recipe, "benchmark", predictions=wanted), workshop / "absent", workshop).disk_bytes
        for wanted in (True, False)
    ]
    written = sum(path.stat().st_size for path in (finished_run / "benchmark" / "predictions").iterdir())
    assert sizes[0] - sizes[1] == pytest.approx(written, rel=0.3)


def test_the_layers_that_students_learn_take_disk_and_are_labelled_anew(
    recipe: Recipe, finished_run: Path, workshop: Path
) -> None:
    def asked(**weights: float) -> Forecast:
        students = [s.model_copy(update=weights) if s.name == "half" else s for s in recipe.students]
        return estimate(recipe.model_copy(update={"students": students}), finished_run, workshop)

    plain, hidden, both = asked(), asked(hidden_weight=1.0), asked(hidden_weight=1.0, attention_weight=1.0)
    rows, layers, width = plain.rows["train"], 2, 32
    assert hidden.disk_bytes - plain.disk_bytes == pytest.approx(2 * rows * layers * width, rel=0.01)
    assert 0 < both.disk_bytes - hidden.disk_bytes < 2 * rows * layers * 16 + 1
    assert "labels" in to_do(hidden) and "labels" not in to_do(plain)


def test_the_directory_of_another_task_is_refused(recipe: Recipe, finished_run: Path, workshop: Path) -> None:
    with pytest.raises(RecipeError, match="belongs to the task 'tiny'"):
        estimate(edited(recipe, "task", name="other"), finished_run, workshop)


def test_a_recovery_takes_time_too(recipe: Recipe, workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.estimating._products_per_second", lambda: 1e9)

    def seconds(**changes: Any) -> float:
        students = [s.model_copy(update=changes) if s.name == "half" else s for s in recipe.students]
        return estimate(recipe.model_copy(update={"students": students}), workshop / "absent", workshop).seconds

    plain, pruned, longer = seconds(), seconds(prune_units=0.5), seconds(prune_units=0.5, recovery_epochs=4)
    assert longer - pruned == pytest.approx(pruned - plain)
    assert plain < pruned == pytest.approx(plain + (seconds(epochs=6) - plain))
