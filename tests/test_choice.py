"""What is said of a text: abstaining, thresholds of a label, and `operate`, which finds them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import tiny
from understudy import Classifier, cli
from understudy.choice import asked_for
from understudy.data.storing import read_split
from understudy.data.task import Task
from understudy.decision import Decision
from understudy.errors import InputError
from understudy.operating import operate

THREE, SEVERAL = Task("mood", ("bad", "fair", "good")), Task("topics", ("bill", "bug"), kind="multi")
MODEL = "students/cnn/int8"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.understudy, [*map(str, arguments)], standalone_mode=False)


@pytest.mark.parametrize(
    ("row", "asked", "label", "labels", "confidence"),
    [
        ([0.2, 0.5, 0.3], {}, "fair", ("fair",), 0.5),
        ([0.2, 0.5, 0.3], {"abstain_below": 0.5}, "fair", ("fair",), 0.5),  # from there on
        ([0.2, 0.5, 0.3], {"abstain_below": 0.6}, "abstained", (), 0.5),
        ([0.2, 0.5, 0.3], {"thresholds": {"bad": 0.2}}, "bad", ("bad",), 0.2),
        ([0.2, 0.5, 0.3], {"thresholds": {"fair": 0.6}}, "good", ("good",), 0.3),
    ],
)
def test_one_label_per_text(
    row: list[float], asked: dict, label: str, labels: tuple[str, ...], confidence: float
) -> None:  # type: ignore[type-arg]
    choice = asked_for(THREE, Decision(), **asked)
    found = np.array(row)
    assert (choice.label(found), choice.labels(found), choice.confidence(found)) == (label, labels, confidence)
    assert choice.answer(found) == {label: confidence}


def test_several_labels_per_text() -> None:
    decision = Decision("multi", 1.0, (0.4, 0.7))
    row = np.array([0.5, 0.6])
    assert asked_for(SEVERAL, decision).labels(row) == ("bill",)
    assert asked_for(SEVERAL, decision, None, {"bug": 0.55}).answer(row) == {"bill": 0.5, "bug": 0.6}
    assert asked_for(SEVERAL, Decision("multi"), None, {"bill": 0.9}).labels(row) == ("bug",)


@pytest.mark.parametrize(
    ("task", "asked", "message"),
    [
        (THREE, {"abstain_below": 1.5}, "abstain_below is a probability above 0 and at most 1, got 1.5"),
        (THREE, {"thresholds": {"bad": 0.0}}, "the threshold of bad is a probability above 0 and at most 1, got 0"),
        (THREE, {"thresholds": {"evil": 0.5}}, "a threshold of 'evil': the labels are bad, fair, good"),
        (THREE, {"thresholds": {"bad": 0.5, "good": 0.5}}, "give one threshold or abstain_below"),
        (THREE, {"thresholds": {"bad": 0.5}, "abstain_below": 0.5}, "give one threshold or abstain_below"),
        (SEVERAL, {"abstain_below": 0.5}, "abstain_below is for one label per text"),
        (Task("x", ("abstained", "no")), {"abstain_below": 0.5}, "the task has a label 'abstained'"),
    ],
)
def test_what_a_task_cannot_be_asked(task: Task, asked: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=message):
        asked_for(task, Decision(task.kind), **asked)


def test_unsure_texts_are_abstained_from(finished_run: Path, tmp_path: Path) -> None:
    model, texts = finished_run / MODEL, [text for text, _ in tiny.rows(40, seed=3)]
    classifier = Classifier.load(model)
    limit = float(np.median(classifier.predict_proba(texts).max(axis=1)))
    predictions = classifier.predict(texts, abstain_below=limit)
    unsure = [prediction.confidence < limit for prediction in predictions]
    assert 0 < sum(unsure) < 40
    assert [(p.label == "abstained", p.labels == ()) for p in predictions] == [(u, u) for u in unsure]
    tiny.write_csv(tmp_path / "in.csv", [*zip(texts, texts, strict=True), ("", "")], ("text", "same"))
    result = call("predict", model, "--input", tmp_path / "in.csv", "--output", tmp_path / "out.csv",
                  "--abstain-below", limit)  # fmt: skip
    assert f"41 rows, 1 of them without text and so without label, {sum(unsure)} abstained from" in result.stderr
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [p.label for p in predictions] + [""]
    assert float(rows[unsure.index(True)]["confidence"]) == pytest.approx(
        predictions[unsure.index(True)].confidence, abs=1e-6
    )
    said = call("predict", model, *texts[:5], "--abstain-below", limit, "--json")
    assert [json.loads(line)["label"] for line in said.stdout.splitlines()] == [p.label for p in predictions[:5]]
    assert f"{sum(unsure[:5])} of 5 texts abstained from" in said.stderr


@pytest.mark.parametrize("aim", ["precision", "recall"])
def test_operate_finds_a_threshold_that_predict_takes(finished_run: Path, aim: str) -> None:
    data, model = finished_run / "data", finished_run / MODEL
    said = json.loads(call("operate", model, "--data", data, "--label", "good", f"--{aim}", 0.9, "--json").stdout)
    val = read_split(data / "val.parquet", "val")
    given = [p.label for p in Classifier.load(model).predict(val.texts, thresholds={"good": said["threshold"]})]
    right = sum(label == "good" and truth == 1 for label, truth in zip(given, val.labels, strict=True))
    assert said["precision"]["value"] == right / given.count("good")
    assert said["recall"]["value"] == right / int((val.labels == 1).sum())
    assert said[aim]["value"] >= 0.9
    assert said[aim]["ci95"][0] < said[aim]["value"] and said["n"] == len(val)
    shown = call("operate", model, "--data", data, "--label", "good", f"--{aim}", 0.9).stdout
    assert f"threshold {said['threshold']:.4f} of good, on 70 validation texts" in shown
    again = call("predict", model, "fine", "--threshold", shown.split("--threshold '")[1].split("'")[0])
    assert again.stdout.split("\t")[0] in tiny.LABELS


def test_an_operation_that_cannot_be(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = finished_run / "data", finished_run / MODEL
    with pytest.raises(InputError, match="has no label 'god'; it has bad, good"):
        operate(model, data, "god", "recall", 0.9)
    worst = finished_run / "students" / "fresh" / "int8"
    with pytest.raises(SystemExit) as end:
        cli.main(["operate", str(worst), "--data", str(data), "--label", "good", "--precision", "1"])
    assert end.value.code == 3
    assert (
        "no threshold of 'good' reaches a precision of 1 on 70 validation texts; the nearest, "
        in capsys.readouterr().err
    )
    assert "give either --precision or --recall" in str(
        call("operate", model, "--data", data, "--label", "good").exception
    )
    wrong = call("predict", model, "fine", "--threshold", "good")
    assert "expected a label, = and a probability: --threshold toxic=0.8" in str(wrong.exception)
