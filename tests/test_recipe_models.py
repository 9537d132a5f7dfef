"""A recipe's model may be a directory beside the recipe, or in --data, wherever the command is run from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from training_kit import PowerCutError, prepare_few
from understudy.artifact import Artifact
from understudy.cli import understudy as cli
from understudy.config import LabelConfig, PretrainedStudent, TeacherConfig, load_recipe
from understudy.errors import InputError
from understudy.space import TuneConfig
from understudy.training import distill, label, origins, train, tuning
from understudy.training.trials import Bench, run_trial

RECIPE = """\
[task]
name = "tiny"
labels = ["bad", "good"]
[data]
train = "train.csv"
[teacher]
model = "encoder"
max_length = 16
epochs = 1
device = "cpu"
precision = "fp32"
[label]
device = "cpu"
[[students]]
name = "other"
kind = "pretrained"
model = "encoder"
epochs = 1
device = "cpu"
precision = "fp32"
"""


@pytest.fixture
def home(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "project"
    home.mkdir()
    shutil.copytree(encoder, home / "encoder")
    (home / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return home


def test_it_is_looked_for_beside_the_recipe_or_in_data(home: Path, tmp_path: Path) -> None:
    recipe = load_recipe(home / "recipe.toml")
    (student,), teacher = recipe.students, recipe.teacher
    assert isinstance(teacher, TeacherConfig) and isinstance(student, PretrainedStudent)
    assert teacher.source == student.source == str(home / "encoder")
    assert recipe.model_dump()["teacher"]["model"] == "encoder"  # the path of this machine is in no record
    shutil.move(home / "encoder", tmp_path / "encoder")
    assert load_recipe(home / "recipe.toml", base=tmp_path).teacher.source == str(tmp_path / "encoder")  # type: ignore[union-attr]
    assert teacher.source == "encoder"
    hub = teacher.model_copy(update={"model": "roberta-large"})
    assert hub.source == "roberta-large"


def test_every_stage_finds_it_and_a_project_may_move(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepare_few(home)
    recipe = load_recipe(home / "recipe.toml")
    (student,), teacher = recipe.students, recipe.teacher
    assert isinstance(teacher, TeacherConfig) and isinstance(student, PretrainedStudent)
    made = train(data, home / "teacher", teacher)
    assert made.details["origin"] == "../encoder" and str(home) not in (made.path / "artifact.json").read_text()
    label(made.path, data, home / "labels", LabelConfig(device="cpu"))
    done = distill(made.path, home / "labels", data, home / "student", student)
    assert done.inputs["model"] == made.inputs["model"]
    label(made.path, data, home / "out-of-fold", LabelConfig(device="cpu", folds=2))  # trains the teacher again
    jobs: list[dict[str, Any]] = []

    def take(job: dict[str, Any], *given: Any) -> None:
        jobs.append(job)
        raise PowerCutError

    monkeypatch.setattr(tuning, "Pool", take)
    with pytest.raises(PowerCutError):
        tuning.tune(made.path, home / "labels", data, home / "tune" / "other", student, TuneConfig())
    Path(jobs[0]["out"]).mkdir(parents=True, exist_ok=True)
    run_trial(Bench(**jobs[0]), 0, student.model_dump(), lambda *given: None)
    moved = Path(shutil.move(home, tmp_path / "moved"))
    assert Path(origins.of(Artifact.load(moved / "teacher"))).resolve() == moved / "encoder"


def test_the_commands_look_there_and_a_flag_looks_here(home: Path, tmp_path: Path) -> None:
    prepare_few(home)
    given = ["train", str(home / "recipe.toml"), "--data", str(home / "data"), "--out", str(home / "teacher")]
    done = CliRunner().invoke(cli, given, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    refused = CliRunner().invoke(cli, [*given[:-1], str(home / "two"), "--model", "encoder"])
    assert isinstance(refused.exception, InputError)  # there is none here, and no network
    shutil.copytree(home / "encoder", tmp_path / "elsewhere" / "encoder")
    done = CliRunner().invoke(cli, [*given[:-1], str(home / "two"), "--model", "encoder"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
