"""Learning without gold labels: nobody reads them, the teacher's stand in for them, and the texts go out annotated."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import tiny
from foreign import LABELS, MAPS, save_foreign
from making import moments
from understudy import annotate, pseudo_label
from understudy.artifact import Artifact
from understudy.config import DataConfig, LabelConfig, Recipe, TaskConfig, TeacherConfig, TextCNNStudent
from understudy.data.storing import read_split
from understudy.decision import softmax
from understudy.errors import ArtifactError, DataError, RecipeError, WorkError
from understudy.pipeline import run
from understudy.preparation import prepare
from understudy.progress import Silent
from understudy.soft_labels import OWN, read_labels
from understudy.training import distill, label, train

TASK = TaskConfig(name="tiny", labels=list(tiny.LABELS))
QUICK: dict[str, Any] = {
    "name": "s", "epochs": 1, "batch_size": 10, "soft_weight": 1.0, "width": 8, "filters": 4, "device": "cpu",
    "precision": "fp32",
}  # fmt: skip


def write_texts(home: Path) -> None:
    """Train with nonsense for labels, one text of which a spreadsheet would run; a labelled test."""
    pairs = [(text, f"nonsense {number}") for number, (text, _) in enumerate(tiny.rows(120, seed=6))]
    tiny.write_csv(home / "train.csv", [*pairs, ("=1+1 was so lovely", "?")])
    tiny.write_csv(home / "test.csv", tiny.rows(60, seed=7))
    tiny.write_csv(home / "more.csv", [(f"wombat {text}", "") for text, _ in tiny.rows(20, seed=8)])


class Stage:
    """Texts without labels, and what an abstaining teacher of three labels says of them."""

    def __init__(self, run: Path, home: Path) -> None:
        write_texts(home)
        self.home, self.data, self.teacher, self.labels = home, home / "data", home / "teacher", home / "labels"
        files = DataConfig(train="train.csv", test="test.csv", unlabeled=["more.csv"], train_labels=False, val_size=0.2)
        prepare(TASK, files, self.data, home)
        policy: dict[str, Any] = {"label_policy": "abstain", "label_map": MAPS["abstain"]}
        model = str(save_foreign(run, home / "foreign"))
        train(self.data, self.teacher, TeacherConfig(model=model, train=False, max_length=16, **policy))
        label(self.teacher, self.data, self.labels, LabelConfig(device="cpu"))
        self.known = home / "pseudo-labels"
        pseudo_label(self.labels, self.data, self.known)

    def split(self, name: str, data: Path | None = None) -> Any:
        return read_split((data or self.data) / f"{name}.parquet", name)


@pytest.fixture(scope="module")
def stage(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(finished_run, tmp_path_factory.mktemp("goldless"))


# Data


def test_labels_of_train_are_not_read_and_what_is_cut_from_it_has_none(stage: Stage) -> None:
    assert set(stage.split("train").labels) == set(stage.split("val").labels) == {-1}
    assert (len(stage.split("train")), len(stage.split("val"))) == (97, 24)
    assert set(stage.split("test").labels) == {0, 1}
    counts = Artifact.load(stage.data).measurements["splits"]
    assert ["classes" in counts[name] for name in ("train", "val", "test")] == [False, False, True]


def test_the_label_column_need_not_be_there_and_a_limit_is_a_random_subset(tmp_path: Path) -> None:
    write_texts(tmp_path)
    tiny.write_csv(tmp_path / "train.csv", [(text,) for text, _ in tiny.rows(60, 1)], ("text",))  # type: ignore[misc]
    files = DataConfig(train="train.csv", test="test.csv", val="test.csv", train_labels=False, limit=10)
    with pytest.raises(DataError, match="is both val and test"):
        prepare(TASK, files, tmp_path / "data", tmp_path)
    shutil.copy(tmp_path / "test.csv", tmp_path / "val.csv")
    files = files.model_copy(update={"val": "val.csv"})
    subsets = [
        read_split(prepare(TASK, files, tmp_path / f"data{seed}", tmp_path, seed=seed).path / "train.parquet", "train")
        for seed in (1, 2)
    ]
    assert [len(subset) for subset in subsets] == [10, 10]
    assert subsets[0].ids != subsets[1].ids
    assert set(read_split(tmp_path / "data1/val.parquet", "val").labels) == {0, 1}  # a file of its own has gold labels
    tiny.write_csv(tmp_path / "train.csv", [("one text", ""), ("two texts", "")])
    few = DataConfig(train="train.csv", test="test.csv", train_labels=False)
    with pytest.raises(DataError, match="train: 1 texts; cutting off val takes at least 2"):
        tiny.write_csv(tmp_path / "train.csv", [("one text", "")])
        prepare(TASK, few, tmp_path / "few", tmp_path)


# The teacher's labels in the place of gold


def test_the_teachers_choice_stands_in_for_gold_and_texts_without_an_answer_are_left_out(stage: Stage) -> None:
    made = Artifact.load(stage.known, "data", verify=True)
    for name in ("train", "val"):
        before, after = stage.split(name), stage.split(name, stage.known)
        own = read_labels(stage.labels, name, before.ids, OWN)
        answered = own.argmax(axis=1) != 1
        assert list(after.ids) == [example for example, yes in zip(before.ids, answered, strict=True) if yes]
        assert after.labels.tolist() == (own.argmax(axis=1)[answered] // 2).tolist()  # negative, positive: bad, good
        told = made.measurements["labels_of_the_teacher"][name]
        assert told == {"labelled": len(after), "unanswered": len(before) - len(after)}
        assert made.measurements["splits"][name]["rows"] == len(after)
        assert told["unanswered"] > 0
    assert (stage.known / "test.parquet").read_bytes() == (stage.data / "test.parquet").read_bytes()
    assert stage.split("unlabeled", stage.known).texts == stage.split("unlabeled").texts


def test_gold_labels_that_are_there_stay(stage: Stage, finished_run: Path, tmp_path: Path) -> None:
    made = pseudo_label(finished_run / "labels", finished_run / "data", tmp_path / "known")
    assert made.measurements["labels_of_the_teacher"] == {}
    for name in ("train", "val"):
        assert (stage.split(name, made.path).labels == stage.split(name, finished_run / "data").labels).all()
    with pytest.raises(ArtifactError, match="was made of other data than"):
        pseudo_label(stage.labels, finished_run / "data", tmp_path / "none")


def test_a_teacher_that_always_says_the_same_is_refused(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def constant(labels: Path, split: str, ids: list[str], column: str = "logits") -> Any:
        return np.tile(np.float32([0, 1] if column == "logits" else [0, 0, 1]), (len(ids), 1))

    monkeypatch.setattr("understudy.soft_labels.read_labels", constant)
    with pytest.raises(WorkError, match="the teacher gives all 97 training texts the label 'good', which leaves noth"):
        pseudo_label(stage.labels, stage.data, tmp_path / "known")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("loss", ["kl", "hard"])
def test_students_learn_from_the_teacher_alone(stage: Stage, tmp_path: Path, loss: Any) -> None:
    config = TextCNNStudent(**QUICK, loss=loss, min_count=1)
    made = distill(stage.teacher, stage.labels, stage.known, tmp_path / "s", config)
    answered = len(stage.split("train", stage.known)) + 20
    silent = Artifact.load(stage.labels).measurements["label_mapping"]["abstained"]["unlabeled"]
    assert made.measurements["steps"] == -(-(answered - silent) // 10)
    (epoch,) = made.measurements["history"]
    assert epoch["loss"] == pytest.approx(epoch["soft_loss"])


@pytest.mark.parametrize(
    ("changes", "use_teacher", "message"),
    [
        ({}, False, "has no gold labels: no student can learn from it without the teacher"),
        ({"soft_weight": 0.5}, True, "has no gold labels, which soft_weight = 0.5 needs"),
        ({"correct_teacher": True}, True, "has no gold labels, which correct_teacher needs"),
    ],
)
def test_what_would_take_the_teachers_labels_for_gold_is_refused(
    stage: Stage, tmp_path: Path, changes: dict[str, Any], use_teacher: bool, message: str
) -> None:
    config = TextCNNStudent(**QUICK | changes)
    with pytest.raises(RecipeError, match=f"pseudo-labels {message}$"):
        distill(stage.teacher, stage.labels, stage.known, tmp_path / "s", config, use_teacher=use_teacher)


# Annotated files


def test_every_text_but_those_of_test_is_written_with_its_answers(stage: Stage, tmp_path: Path) -> None:
    made = annotate(stage.labels, stage.data, tmp_path / "annotated")
    assert (made.kind, set(made.files)) == ("annotated", {"annotated.csv", "annotated.parquet"})
    with (made.path / "annotated.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    known = ["id", "split", "text", "gold", "own_label", "label", "confidence", "p_bad", "p_good"]
    assert list(rows[0]) == [*known, *(f"own_p_{name}" for name in LABELS)]
    assert Counter(row["split"] for row in rows) == {"train": 97, "val": 24, "unlabeled": 20}
    table = pq.read_table(made.path / "annotated.parquet").to_pylist()
    assert [list(row) for row in table[:1]] == [list(rows[0])]
    split = stage.split("train")
    own, ours = (read_labels(stage.labels, "train", split.ids, column) for column in (OWN, "logits"))
    shares = softmax(ours, Artifact.load(stage.labels).temperature)
    for row, cells, text, theirs, mine in zip(table, rows, split.texts, softmax(own), shares, strict=False):
        assert row["text"] == text and row["gold"] is None and cells["gold"] == ""
        assert row["own_label"] == LABELS[theirs.argmax()]
        expected = None if row["own_label"] == "neutral" else tiny.LABELS[mine.argmax()]
        assert (row["label"], cells["label"]) == (expected, expected or "")
        assert [row["p_bad"], row["p_good"]] == pytest.approx(mine) and row["confidence"] == mine.max()
        assert [row[f"own_p_{name}"] for name in LABELS] == pytest.approx(theirs)
        assert float(cells["p_good"]) == pytest.approx(mine[1], abs=1e-6)
    texts = {row["text"] for row in rows}
    assert "'=1+1 was so lovely" in texts and "=1+1 was so lovely" in {row["text"] for row in table}
    assert not texts & set(stage.split("test").texts)


def test_annotating_asks_no_teacher_and_is_done_once(stage: Stage, finished_run: Path, tmp_path: Path) -> None:
    labels = shutil.copytree(finished_run / "labels", tmp_path / "labels")  # without its teacher
    first = annotate(labels, finished_run / "data", tmp_path / "annotated", ["csv"])
    assert set(first.files) == {"annotated.csv"}
    written = (first.path / "annotated.csv").stat().st_mtime_ns
    annotate(labels, finished_run / "data", tmp_path / "annotated", ["csv"])
    assert (first.path / "annotated.csv").stat().st_mtime_ns == written
    with (first.path / "annotated.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[3:] == ["gold", "label", "confidence", "p_bad", "p_good"]
    assert {row["gold"] for row in rows} == set(tiny.LABELS)
    both = annotate(labels, finished_run / "data", tmp_path / "annotated", ["csv", "parquet", "csv"])
    assert set(both.files) == {"annotated.csv", "annotated.parquet"}
    with pytest.raises(ArtifactError, match="was made of other data than"):
        annotate(labels, stage.data, tmp_path / "none")


# The whole


def recipe(model: Path, policy: str) -> Recipe:
    student = {"kind": "textcnn", "width": 8, "filters": 4, "min_count": 1}
    return Recipe.model_validate({
        "task": TASK.model_dump(),
        "data": {"train": "train.csv", "test": "test.csv", "unlabeled": ["more.csv"], "train_labels": False},
        "teacher": {
            "model": str(model), "train": False, "max_length": 16, "label_map": MAPS[policy], "label_policy": policy
        },
        "distill": {"soft_weight": 1.0, "epochs": 3, "batch_size": 16, "learning_rate": 1e-2},
        "students": [student | {"name": "full"}, student | {"name": "hard", "loss": "hard"}],
        "variants": ["fp32"] if policy == "abstain" else ["fp32", "int8"],
        "controls": "none", "annotated": ["csv"], "quantize": {"samples": 16},
        "benchmark": {"speed_texts": 4, "repeats": 1, "bootstrap": 100, "pipeline": False},
    })  # fmt: skip


@pytest.mark.parametrize(
    "policy", ["abstain", *(pytest.param(name, marks=pytest.mark.wide) for name in MAPS if name != "abstain")]
)
def test_a_run_without_gold_labels(finished_run: Path, tmp_path: Path, policy: str) -> None:
    write_texts(tmp_path)
    out, settings = tmp_path / "run", recipe(save_foreign(finished_run, tmp_path / "foreign"), policy)
    results = run(settings, out, tmp_path, Silent())
    models = {f"{model['name']}/{model['variant']}": model for model in results["models"]}
    files = {f"{student.name}/{variant}" for student in settings.students for variant in settings.variants}
    assert set(models) == {"teacher/fp32", "majority/none", "tfidf-lr/sklearn"} | files
    assert {(pair["first"], pair["second"]) for pair in results["comparisons"]} >= {("full/fp32", "hard/fp32")}
    assert results["label_mapping"]["policy"] == policy
    assert set(results["data"]["labels_of_the_teacher"]) == {"train", "val"}
    assert (out / "annotated/annotated.csv").exists()
    said = (out / "report/report.md").read_text(encoding="utf-8")
    assert "No gold label of the training texts was read: the labels of train and val are the teacher's." in said
    assert f"label\\_policy {policy.replace('_', chr(92) + '_')}: negative → bad" in said
    assert "of the same shape" in said
    assert json.loads((out / "teacher/label_map.json").read_text())["policy"] == policy
    before = moments(out)
    run(settings.model_copy(update={"annotated": []}), out, tmp_path, Silent())
    assert moments(out) == before
