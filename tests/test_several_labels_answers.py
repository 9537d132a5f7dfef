"""Several labels per text, and teachers that are a table or a function: each label's probability stands by itself."""

from __future__ import annotations

import csv
import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

import tiny_multi
from answers_kit import labelled, settings, split_of
from understudy import annotate, pseudo_label
from understudy.answering.rows import FLOOR, log_odds
from understudy.artifact import Artifact
from understudy.cli import understudy as cli
from understudy.config import DataConfig, Recipe, TaskConfig
from understudy.data.storing import read_split
from understudy.decision import sigmoid
from understudy.entries import Lead
from understudy.errors import DataError, RecipeError, WorkError
from understudy.pipeline import run
from understudy.preparation import prepare
from understudy.progress import Silent
from understudy.soft_labels import read_labels

LABELS = tiny_multi.LABELS
TASK = TaskConfig(name="tiny", kind="multi", labels=list(LABELS))
NAN = float("nan")
FUNCTION = """\
WORDS = {words!r}

def answer(texts):
    return [[0.9 if set(text.split()) & set(WORDS[label]) else 0.2 for label in WORDS] for text in texts]

def named(texts):
    return [dict(zip(WORDS, row)) for row in answer(texts)]

def partial(texts):
    return [{{"arts": 0.5}} for text in texts]

def sure(texts):
    return [[1.5, 0.5, 0.5, 0.5] for text in texts]
"""


def write_table(path: Path, rows: list[tiny_multi.Row]) -> None:
    """A teacher that is right: 0.9 for the labels that apply, 0.2 for the others."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", *(f"p_{label}" for label in LABELS)])
        writer.writerows([text, *(0.9 if label in given else 0.2 for label in LABELS)] for text, given in rows)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("several")
    rows = tiny_multi.rows(700, seed=1)
    write_table(home / "probs.csv", rows)
    texts = iter(rows)
    for name, size in (("train", 400), ("val", 120), ("test", 120), ("more", 60)):
        tiny_multi.write_csv(home / f"{name}.csv", list(islice(texts, size)))
    (home / "fine.py").write_text(FUNCTION.format(words=tiny_multi.WORDS), encoding="utf-8")
    files = DataConfig(train="train.csv", val="val.csv", test="test.csv", unlabeled=["more.csv"])
    prepare(TASK, files, home / "data", home)
    return home


@pytest.fixture
def data(home: Path, tmp_path: Path) -> Path:
    for name in ("data", "probs.csv", "fine.py"):
        (tmp_path / name).symlink_to(home / name)
    return tmp_path / "data"


def probabilities(labels: Artifact, data: Path, name: str) -> NDArray[np.float64]:
    return sigmoid(read_labels(labels.path, name, split_of(data, name).ids))


def test_each_label_has_log_odds_of_its_own() -> None:
    values = np.array([[0.9, 0.9, 0.0], [0.5, 0.25, 1.0], [NAN, NAN, NAN]])
    found = log_odds(values, "abc", "probability", str)
    np.testing.assert_allclose(sigmoid(found[:2]), np.clip(values[:2], FLOOR, 1 - FLOOR), atol=1e-6)
    assert np.isnan(found[2]).all()
    with np.errstate(divide="ignore"):
        logs = log_odds(np.log(values), "abc", "log_probability", str)
    np.testing.assert_allclose(logs, found, rtol=1e-4)
    np.testing.assert_array_equal(log_odds(np.array([[3.0, -40.0]]), "ab", "logit", str), np.float32([[3, -40]]))


@pytest.mark.parametrize(
    ("row", "scale", "message"),
    [
        ([0.9, NAN], "probability", "0: 'b' has no value; where several labels may apply, the other labels do not say"),
        ([0.9, 1.2], "probability", "0: 'b' has the probability 1.2, expected 0 to 1; set scale ="),
        ([-0.1, 0.2], "probability", "0: 'a' has the probability -0.1, expected 0 to 1; set scale ="),
        ([0.5, 0.5], "log_probability", "0: 'a' has the probability 1.649, expected 0 to 1"),
        ([np.inf, 0.5], "logit", "0: an infinite logit"),
    ],
)
def test_what_is_no_probability_is_refused_with_its_row(row: list[float], scale: Any, message: str) -> None:
    with pytest.raises(DataError) as error:
        log_odds(np.array([row]), "ab", scale, str)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("teacher", [("table", "probs.csv"), ("function", "answer"), ("function", "named")])
def test_a_table_and_a_function_teach_sets(data: Path, teacher: tuple[str, str]) -> None:
    kind, name = teacher
    given = {"path": name} if kind == "table" else {"function": f"fine.py:{name}"}
    labels = labelled(data, settings(kind, **given))
    for split in ("train", "val"):
        expected = np.where(split_of(data, split).labels == 1, 0.9, 0.2)
        np.testing.assert_allclose(probabilities(labels, data, split), expected, atol=1e-6)
    share = float(split_of(data, "val").labels.mean())
    confidence = labels.measurements["confidence"]["val"]  # of a decision: does the label apply?
    assert confidence == pytest.approx(0.9 * share + 0.8 * (1 - share), abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "given", "error", "message"),
    [
        ("function", {"function": "fine.py:partial"}, DataError, "its answer to .*: 'praise' has no value"),
        ("function", {"function": "fine.py:sure"}, DataError, "its answer to .*: 'arts' has the probability 1.5"),
        ("table", {"path": "probs.csv", "tolerance": 0.1}, RecipeError, "teacher.tolerance: for a task of kind single"),
        ("endpoint", {"url": "http://localhost/v1", "model": "m"}, RecipeError, "endpoint.*for a task of kind single"),
    ],
)  # fmt: skip
def test_what_is_for_one_label_is_refused(data: Path, kind: str, given: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        labelled(data, settings(kind, **given))


def test_texts_go_out_with_all_labels_of_the_teacher(data: Path, tmp_path: Path) -> None:
    labels = labelled(data, settings("table", path="probs.csv"))
    made = annotate(labels.path, data, tmp_path / "annotated")
    rows = pq.read_table(made.path / "annotated.parquet").to_pylist()
    assert list(rows[0]) == ["id", "split", "text", "gold", "labels", *(f"p_{label}" for label in LABELS)]
    of_split = {name: [row for row in rows if row["split"] == name] for name in ("train", "unlabeled")}
    assert all(row["labels"] == row["gold"] for row in of_split["train"])
    assert {row["gold"] for row in of_split["unlabeled"]} == {None}
    assert "" in {row["gold"] for row in of_split["train"]} and any("|" in row["labels"] for row in rows)
    with (made.path / "annotated.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    assert [cell["labels"] for cell in cells] == [row["labels"] for row in rows]
    assert {row["split"] for row in rows} == {"train", "val", "unlabeled"}


def test_without_gold_labels_the_teachers_sets_stand_in_for_them(home: Path, tmp_path: Path) -> None:
    tiny_multi.write_csv(tmp_path / "train.csv", [(text, ("?",)) for text, _ in tiny_multi.rows(400, seed=1)])
    tiny_multi.write_csv(tmp_path / "test.csv", tiny_multi.rows(80, seed=9))
    (tmp_path / "probs.csv").symlink_to(home / "probs.csv")
    prepare(TASK, DataConfig(train="train.csv", test="test.csv", train_labels=False), tmp_path / "data", tmp_path)
    assert (read_split(tmp_path / "data" / "train.parquet", "train").labels == -1).all()
    labels = labelled(tmp_path / "data", settings("table", path="probs.csv"))
    made = pseudo_label(labels.path, tmp_path / "data", tmp_path / "known")
    known, truth = read_split(made.path / "val.parquet", "val"), dict(tiny_multi.rows(400, seed=1))
    assert [tuple(np.array(LABELS)[row == 1]) for row in known.labels] == [truth[text] for text in known.texts]
    assert made.measurements["labels_of_the_teacher"]["train"]["labelled"] == len(truth) - len(known)


def test_a_teacher_that_never_gives_a_label_is_refused(data: Path, tmp_path: Path) -> None:
    tiny_multi.write_csv(tmp_path / "train.csv", [(text, ()) for text, _ in tiny_multi.rows(60, seed=1)])
    tiny_multi.write_csv(tmp_path / "test.csv", tiny_multi.rows(80, seed=9))
    never = [(text, tuple(set(given) - {"blame"})) for text, given in tiny_multi.rows(700, seed=1)]
    write_table(tmp_path / "never.csv", never)
    prepare(TASK, DataConfig(train="train.csv", test="test.csv", train_labels=False), tmp_path / "raw", tmp_path)
    labels = labelled(tmp_path / "raw", settings("table", path="never.csv"))
    with pytest.raises(WorkError, match="the teacher gives none of the 54 training texts the label 'blame'"):
        pseudo_label(labels.path, tmp_path / "raw", tmp_path / "known")


def test_the_teachers_thresholds_are_fitted_on_validation(data: Path) -> None:
    labels = labelled(data, settings("table", path="probs.csv"))
    lead, val = Lead.of(data.parent / "teacher", labels.path), split_of(data, "val")
    assert lead is not None
    decision = lead.decision(val, "recall", 0.95)
    assert (decision.kind, decision.temperature) == ("multi", labels.temperature)
    np.testing.assert_array_equal(decision.choose(read_labels(labels.path, "val", val.ids)), val.labels)
    low, high = sigmoid(np.log(np.array([0.25, 9.0])), labels.temperature)
    assert all(low < threshold < high for threshold in decision.thresholds)
    assert lead.row(decision)["thresholds"] == list(decision.thresholds)


@pytest.mark.wide
def test_a_run_with_a_table_ends_in_a_report_with_its_calibration_study(home: Path, tmp_path: Path) -> None:
    student = {
        "name": "cnn", "kind": "textcnn", "width": 16, "filters": 16, "kernels": [1, 2], "min_count": 1, "epochs": 6,
        "batch_size": 16, "learning_rate": 3e-2, "precision": "fp32",
    }  # fmt: skip
    recipe = Recipe.model_validate({
        "task": TASK.model_dump(), "data": {"train": "train.csv", "val": "val.csv", "test": "test.csv"},
        "teacher": {"kind": "table", "path": "probs.csv"}, "students": [student], "variants": ["fp32"],
        "controls": "none", "annotated": ["csv"],
        "calibrate": {"threshold_for": "precision", "threshold_target": 0.9},
        "benchmark": {"speed_texts": 4, "repeats": 1, "bootstrap": 100},
    })  # fmt: skip
    out = tmp_path / "run"
    results = run(recipe, out, home, Silent())
    rows = {f"{row['name']}/{row['variant']}": row for row in results["models"]}
    assert rows["teacher/table"]["metrics"]["test"]["micro_f1"]["value"] == 1.0
    assert len(rows["teacher/table"]["thresholds"]) == 4
    assert rows["cnn/fp32"]["retention"]["value"] > 0.9
    study = rows["cnn/fp32"]["calibration_study"]
    assert set(study) == {"val", "test", "held"}
    for split in ("val", "test"):
        for when in ("before", "after"):
            assert study[split][when]["measures"].keys() == {
                "confidence", "entropy", "accuracy", "ece", "brier", "nll"
            }  # fmt: skip
    after = study["test"]["after"]["measures"]
    scored = rows["cnn/fp32"]["metrics"]["test"]
    assert [after[name]["value"] for name in ("ece", "brier", "nll")] == [
        scored[name]["value"] for name in ("ece", "brier", "nll")
    ]
    assert (out / "annotated" / "annotated.csv").exists()
    assert {"risk-coverage.png", "calibration-reliability.png"} <= {path.name for path in (out / "report").iterdir()}
    said = (out / "report" / "report.md").read_text(encoding="utf-8")
    assert "A decision is whether a label applies to a text" in said and "share of the decisions" in said
    printed = CliRunner().invoke(cli, ["report", "--calibration", str(out), "--json"], catch_exceptions=False)
    assert json.loads(printed.stdout) == {
        key: row["calibration_study"] for key, row in rows.items() if "calibration_study" in row
    }
