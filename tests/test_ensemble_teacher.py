"""Several classifiers as one teacher: the mean of what they answer, whichever they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from answers_kit import TASK, Listener, labelled, prepared, probabilities, settings, split_of
from training_kit import Failing, PowerCutError
from understudy.answering import answer_test
from understudy.answering.ensemble import fit_weights
from understudy.artifact import MANIFEST, Artifact
from understudy.classifier import Classifier
from understudy.config import DataConfig, RecipeError, TaskConfig
from understudy.data.task import Split
from understudy.entries import Lead
from understudy.errors import ArtifactError
from understudy.preparation import prepare
from understudy.progress import Silent

MEMBERS = ["teacher-fp32", "textcnn"]


@pytest.fixture(scope="module")
def ready(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("ensemble")
    prepared(home)
    shutil.copytree(finished_run / "teacher-fp32", home / MEMBERS[0])
    shutil.copytree(finished_run / "students" / "cnn" / "int8", home / MEMBERS[1])
    return home


@pytest.fixture
def home(ready: Path, tmp_path: Path) -> Path:
    shutil.copytree(ready, tmp_path / "home")
    return tmp_path / "home"


def change(member: Path, **fields: Any) -> None:
    raw = json.loads((member / MANIFEST).read_text())
    (member / MANIFEST).write_text(json.dumps(raw | fields))


def of_members(home: Path, name: str) -> np.ndarray:
    texts = split_of(home / "data", name).texts
    return np.stack([Classifier.load(home / member).predict_proba(texts) for member in MEMBERS])


@pytest.mark.parametrize("split", ["train", "val", "unlabeled"])
def test_the_soft_labels_are_the_mean_of_the_members(home: Path, split: str) -> None:
    labels = labelled(home / "data", settings("ensemble", members=MEMBERS))
    assert probabilities(labels, home / "data", split) == pytest.approx(of_members(home, split).mean(axis=0), abs=1e-5)
    assert labels.measurements["answers"]["said"] == ["the teacher is the mean of teacher-fp32 (50%), textcnn (50%)"]


def test_fitted_weights_are_those_of_the_best_mixture_on_validation(home: Path) -> None:
    labels = labelled(home / "data", settings("ensemble", members=MEMBERS, weights="fitted"))
    weights = list(labels.measurements["answers"]["weights"].values())
    assert sum(weights) == pytest.approx(1)
    val = split_of(home / "data", "val")
    true = of_members(home, "val")[:, np.arange(len(val)), val.labels]
    grid = np.linspace(0, 1, 1001)
    likelihoods = [np.log(share * true[0] + (1 - share) * true[1]).sum() for share in grid]
    assert weights[0] == pytest.approx(grid[int(np.argmax(likelihoods))], abs=0.01)
    mean = np.tensordot(weights, of_members(home, "train"), axes=1)
    assert probabilities(labels, home / "data", "train") == pytest.approx(mean, abs=1e-5)


def warnings_of(home: Path, listener: Listener | None = None) -> list[str]:
    labelled(home / "data", settings("ensemble", members=MEMBERS), listener)
    return Artifact.load(home / "teacher").warnings


def test_a_member_that_was_calibrated_on_other_data_is_named(home: Path) -> None:
    data = Artifact.load(home / "data").digest
    for name in MEMBERS:
        measured = Artifact.load(home / name).measurements
        change(home / name, measurements=measured | {"calibration": {"of": {"data": data}}})
    assert warnings_of(home) == []
    change(home / "textcnn", measurements={"calibration": {"of": {"data": "another"}}}, decision={"temperature": 2.0})
    warning = (
        "member textcnn was made on other data: its training or calibration may have seen these validation or test "
        "texts, which would flatter the teacher's weights and figures"
    )
    assert warnings_of(home) == [warning]
    lead = Lead.of(home / "teacher", None)
    assert lead is not None and lead.ask(split_of(home / "data", "test"), Silent())[0][0] == warning  # in the report


def test_prepared_data_are_the_same_data_if_task_settings_and_seed_are(tmp_path: Path) -> None:
    tiny.write_csv(tmp_path / "train.csv", tiny.rows(80, seed=6))

    def digest(name: str, task: TaskConfig = TASK, seed: int = 13, **changed: Any) -> str:
        return prepare(task, DataConfig(train="train.csv", **changed), tmp_path / name, tmp_path, seed=seed).digest

    first = digest("first")
    assert digest("again") == first
    others = [
        digest("seed", seed=14), digest("cut", val_size=0.2), digest("written", normalize=["lower"]),
        digest("named", TASK.model_copy(update={"name": "other"})),
        digest("turned", TASK.model_copy(update={"labels": TASK.labels[::-1]})),
    ]  # fmt: skip
    assert first not in others and len(set(others)) == len(others)


class Known:
    """A member that answers with given probabilities."""

    def __init__(self, answers: np.ndarray) -> None:
        self.answers = answers

    def predict_proba(self, texts: list[str]) -> np.ndarray:
        return self.answers


def test_a_member_that_knows_nothing_gets_no_weight_where_several_labels_apply() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (400, 3))
    good = np.where(labels == 1, 0.9, 0.1)
    val = Split("val", [str(row) for row in range(400)], ["x"] * 400, labels)
    weights = fit_weights([Known(good), Known(np.full((400, 3), 0.5))], val)  # type: ignore[list-item]
    assert weights[0] > 0.999


def test_it_answers_the_test_split_too_unless_told_not_to(home: Path) -> None:
    labelled(home / "data", settings("ensemble", members=MEMBERS))
    teacher, test = Artifact.load(home / "teacher"), split_of(home / "data", "test")
    answers = answer_test(teacher, test, 64, Silent())
    assert answers.logits is not None
    assert np.exp(answers.logits) == pytest.approx(of_members(home, "test").mean(axis=0), abs=1e-5)
    labelled(home / "data", settings("ensemble", members=MEMBERS, test=False))
    assert answer_test(Artifact.load(home / "teacher"), test, 64, Silent()).logits is None


def test_a_killed_labelling_goes_on(home: Path) -> None:
    config = settings("ensemble", members=MEMBERS)
    with pytest.raises(PowerCutError):
        labelled(home / "data", config, Failing(20), shard_size=8)
    labels = labelled(home / "data", config, shard_size=8)
    assert labels.measurements["of_an_interrupted_run"] > 0
    assert probabilities(labels, home / "data", "train") == pytest.approx(
        of_members(home, "train").mean(axis=0), abs=1e-5
    )


def test_another_member_or_temperature_is_another_teacher(home: Path) -> None:
    config, listener = settings("ensemble", members=MEMBERS), Listener()
    before = probabilities(labelled(home / "data", config), home / "data", "train")
    change(home / "textcnn", decision={"temperature": 3.0})
    with pytest.raises(ArtifactError, match="a member has changed since"):
        answer_test(Artifact.load(home / "teacher"), split_of(home / "data", "test"), 64, Silent())
    after = probabilities(labelled(home / "data", config, listener), home / "data", "train")
    assert "home/teacher is made again, because of another member textcnn" in listener.notes
    assert not np.allclose(before, after)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("nowhere", "no such artifact directory"),
        ("data", "is a data directory, expected a model directory"),
        ("raw", "is not calibrated: run `understudy calibrate` on it"),
        ("flipped", "has the labels good, bad, the task has bad, good"),
        ("torch", "is no ONNX artifact: name its fp32 or int8 directory"),
    ],
)
def test_what_cannot_be_a_member(home: Path, finished_run: Path, other: str, message: str) -> None:
    shutil.copytree(home / "textcnn", home / "raw")
    change(home / "raw", decision={})
    shutil.copytree(home / "textcnn", home / "flipped")
    task = json.loads((home / "flipped" / MANIFEST).read_text())["task"]
    change(home / "flipped", task=task | {"labels": task["labels"][::-1]})
    shutil.copytree(finished_run / "students" / "cnn" / "torch", home / "torch")
    with pytest.raises(RecipeError) as error:
        labelled(home / "data", settings("ensemble", members=["teacher-fp32", other]))
    assert str(error.value).replace(": no", " no") == f"teacher.members: {home / other} {message}"
    assert not (home / "teacher").exists()
