"""Several labels per text from data to predictions: what is learnt, what ships, what is said of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import tiny_multi
from making import moments
from understudy import Classifier
from understudy.answers import Answers
from understudy.artifact import Artifact, Plan, writing
from understudy.calibration import calibrate
from understudy.cli import understudy as cli
from understudy.comparison import compare_on_file
from understudy.config import (
    BenchmarkConfig,
    CalibrateConfig,
    DataConfig,
    ExportConfig,
    LabelConfig,
    QuantizeConfig,
    TaskConfig,
    TeacherConfig,
    TextCNNStudent,
    load_recipe,
)
from understudy.controls import bag_of_words, majority
from understudy.data import Task, read_split
from understudy.errors import InputError, RecipeError
from understudy.golden import check_golden
from understudy.metrics import agreement
from understudy.multilabel import METRICS, outcomes
from understudy.pipeline import run
from understudy.preparation import prepare
from understudy.progress import Silent
from understudy.quantization import quantize
from understudy.training import distill, export, label, train
from understudy.training.labeling import read_labels

TASK = TaskConfig(name="tiny", kind="multi", labels=list(tiny_multi.LABELS))
STUDENT = TextCNNStudent(
    name="cnn", width=16, filters=16, kernels=[1, 2], min_count=1, epochs=6, batch_size=16, learning_rate=3e-2,
    soft_weight=1.0, precision="fp32",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Path:
    """Prepared data, a teacher that has hardly learnt, a student of a good teacher's logits, its ONNX forms."""
    home = tmp_path_factory.mktemp("multi")
    tiny_multi.write_csv(home / "train.csv", tiny_multi.rows(600, seed=1))
    prepare(TASK, DataConfig(train="train.csv"), home / "data", home)
    teacher = TeacherConfig(model=str(encoder), max_length=24, epochs=1, batch_size=32, learning_rate=5e-3)
    train(home / "data", home / "teacher", teacher)
    label(home / "teacher", home / "data", home / "labels", LabelConfig())
    good_labels(home, home / "good", 0)
    distill(home / "teacher", home / "good", home / "data", home / "student", STUDENT)
    export(home / "student", home / "data", home / "fp32", ExportConfig())
    quantize(home / "fp32", home / "data", home / "int8", QuantizeConfig(samples=32))
    calibrate(home / "int8", home / "data")
    return home


def good_labels(home: Path, out: Path, shift: int) -> None:
    """Soft labels of a teacher that knows the truth of its texts; with a shift, of other texts than they stand at."""
    source = Artifact.load(home / "labels", "labels")
    with writing(out, Plan("label", {}, source.inputs, shift), "labels") as draft:
        draft.task, draft.text, draft.decision = source.task, source.text, {"temperature": 1.0}
        for shard in sorted(source.path.glob("*.parquet")):
            table = pq.read_table(shard)
            split = read_split(home / "data" / f"{shard.name.split('-')[0]}.parquet", "any")
            truth = dict(zip(split.ids, np.roll(split.labels, shift, axis=0), strict=True))
            logits = [(4.0 * truth[name] - 2.0).tolist() for name in table["id"].to_pylist()]
            pq.write_table(
                table.set_column(1, "logits", [np.array(logits, np.float32).tolist()]), draft.path / shard.name
            )


def val_micro_f1(artifact: Artifact) -> float:
    return max(float(epoch["val_micro_f1"]) for epoch in artifact.measurements["history"])


def test_a_student_learns_the_sets_from_soft_labels_alone(made: Path) -> None:
    assert val_micro_f1(Artifact.load(made / "student")) > 0.95


def test_a_student_of_permuted_labels_fails(made: Path, tmp_path: Path) -> None:
    good_labels(made, tmp_path / "bad", 7)
    done = distill(made / "teacher", tmp_path / "bad", made / "data", tmp_path / "student", STUDENT)
    assert val_micro_f1(done) < 0.65  # giving every text the commonest labels has about as much


def test_the_torch_files_say_what_they_are(made: Path) -> None:
    config = json.loads((made / "teacher" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert Artifact.load(made / "teacher").measurements["history"][0].keys() >= {"val_nll", "val_subset_accuracy"}
    assert read_labels(made / "labels", "val", read_split(made / "data" / "val.parquet", "val").ids).shape == (60, 4)


def test_what_ships_decides_by_its_thresholds(made: Path) -> None:
    classifier = Classifier.load(made / "int8")
    test = read_split(made / "data" / "test.parquet", "test")
    found = classifier.predict(test.texts)
    thresholds = Artifact.load(made / "int8").decision["thresholds"]
    assert len(set(thresholds)) > 1
    for text, prediction in zip(test.texts, found, strict=True):
        pairs = zip(tiny_multi.LABELS, thresholds, strict=True)
        assert prediction.labels == tuple(name for name, least in pairs if prediction.probabilities[name] >= least)
        assert (
            prediction.confidence
            == max(prediction.probabilities.values())
            == prediction.probabilities[prediction.label]
        )
        assert classifier.predict([text]) == [prediction]
    answers = Answers(classifier.logits(test.texts), classifier.decision)
    given = [tuple(name for name, there in zip(tiny_multi.LABELS, row, strict=True) if there) for row in answers.labels]
    assert given == [prediction.labels for prediction in found]
    assert {len(labels) for labels in given} >= {0, 1, 2}
    assert float(METRICS["micro_f1"](outcomes(test.labels, answers.labels))) > 0.95
    assert check_golden(classifier) == 9


def test_thresholds_do_what_is_asked_of_them(made: Path) -> None:
    before = Artifact.load(made / "int8")
    source = (made / "int8" / "artifact.json").read_bytes()
    try:
        for aim in ("precision", "recall"):
            done = calibrate(made / "int8", made / "data", CalibrateConfig(threshold_for=aim, threshold_target=0.98))
            fitted = done.measurements["calibration"]["thresholds"]
            assert all(row[aim] >= 0.98 for row in fitted.values() if row["reached"])
            assert done.temperature == before.temperature and done.digest == before.digest
            kept = (made / "int8" / "artifact.json").read_bytes()
            calibrate(made / "int8", made / "data", CalibrateConfig(threshold_for=aim, threshold_target=0.98))
            assert (made / "int8" / "artifact.json").read_bytes() == kept
    finally:
        (made / "int8" / "artifact.json").write_bytes(source)


def test_the_gate_answers_by_thresholds(made: Path) -> None:
    gate = Artifact.load(made / "int8").measurements["gate"]
    assert set(gate["recall_change"]) == set(tiny_multi.LABELS)
    one, two = (Classifier.load(made / name) for name in ("fp32", "int8"))
    texts = read_split(made / "data" / "val.parquet", "val").texts
    assert np.abs(one.logits(texts) - two.logits(texts)).max() > 0
    assert gate["flips"] <= 3 and agreement(
        one.decision.choose(one.logits(texts)), one.decision.choose(two.logits(texts))
    )


def invoke(*arguments: object) -> str:
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    return done.stdout


def test_predictions_of_texts_and_files(made: Path, tmp_path: Path) -> None:
    lines = invoke("predict", made / "int8", "the film was great and awful", "so it is").splitlines()
    assert lines[0].split("\t")[0] == "arts|praise|blame"
    assert len(lines[0].split("\t")[1].split("|")) == 3
    assert lines[1] == "\t\tso it is"
    record = json.loads(invoke("predict", made / "int8", "a song", "--json"))
    assert record["labels"] == ["arts"] and list(record["probabilities"]) == list(tiny_multi.LABELS)
    rows = [("a lovely song", ()), ("so it is", ()), ("", ())]
    source = tiny_multi.write_csv(tmp_path / "in.csv", rows)
    for name in ("out.csv", "out.jsonl", "out.parquet"):
        invoke("predict", made / "int8", "--input", source, "--output", tmp_path / name, "--probabilities")
    with (tmp_path / "out.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [row["labels"] for row in found] == ["arts|praise", "", ""]
    assert list(found[0]) == ["text", "label", "labels", *(f"p_{label}" for label in tiny_multi.LABELS)]
    objects = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    table = pq.read_table(tmp_path / "out.parquet")["labels"].to_pylist()
    assert [row["labels"] for row in objects] == table == [["arts", "praise"], [], None]


def test_an_artifact_is_described(made: Path) -> None:
    said = invoke("inspect", made / "int8")
    assert "tiny (micro_f1): arts, praise, blame, things" in said
    assert "any number per text" in said and "thresholds       arts 0." in said
    assert "threshold 0." in invoke("calibrate", made / "int8", "--data", made / "data")


def test_the_controls_answer_with_sets(made: Path) -> None:
    task, train_split, val = (
        Artifact.load(made / "data").task,
        *(read_split(made / "data" / f"{name}.parquet", name) for name in ("train", "val")),
    )
    assert task is not None
    bag = bag_of_words(train_split, val, task)
    answers = Answers(bag.answer(val.texts), bag.decision)
    assert float(METRICS["micro_f1"](outcomes(val.labels, answers.labels))) > 0.9
    labels = train_split.labels
    for metric in METRICS:
        control = majority(train_split, Task("t", task.labels, metric, "multi"))
        chosen = Answers(control.answer(train_split.texts), control.decision).labels
        assert (chosen == chosen[0]).all()
        assert control.always == [name for name, there in zip(task.labels, chosen[0], strict=True) if there]
        score = METRICS[metric]
        best = max(
            float(score(outcomes(labels, np.tile([(number >> bit) & 1 for bit in range(4)], (len(labels), 1)))))
            for number in range(16)
        )
        assert float(score(outcomes(labels, chosen))) == pytest.approx(best)


def test_artifacts_are_measured_on_any_file(made: Path, tmp_path: Path) -> None:
    data = tiny_multi.write_csv(tmp_path / "new.csv", tiny_multi.rows(60, seed=8), separator=";")
    config = BenchmarkConfig(speed_texts=4, repeats=1, bootstrap=100)
    found = compare_on_file([str(made / "int8")], data, config, separator=";")
    assert found["kind"] == "multi" and found["task_metric"] == "micro_f1"
    assert found["models"][0]["metrics"]["file"]["micro_f1"]["value"] > 0.9


def test_settings_of_the_other_kind_are_refused_by_the_stages(made: Path, tmp_path: Path, finished_run: Path) -> None:
    places = (made / "teacher", made / "good", made / "data", tmp_path / "x")
    with pytest.raises(RecipeError, match="stop_metric = accuracy is not for a task of kind multi"):
        distill(*places, STUDENT.model_copy(update={"stop_metric": "accuracy"}))
    with pytest.raises(RecipeError, match="loss dkd parts one right label"):
        distill(*places, STUDENT.model_copy(update={"loss": "dkd"}))
    single = finished_run / "students" / "cnn" / "int8"
    with pytest.raises(RecipeError, match="threshold_for: for a task of kind multi"):
        calibrate(single, finished_run / "data", CalibrateConfig(threshold_for="recall"))
    with pytest.raises(InputError, match="is of a task of kind single"):
        compare_on_file([str(made / "int8"), str(single)], tmp_path / "none.csv", BenchmarkConfig())
    assert not (tmp_path / "x").exists()


def test_a_ready_classifier_must_decide_as_the_task_does(made: Path, tmp_path: Path) -> None:
    ready = TeacherConfig(model=str(made / "teacher"), train=False, max_length=24)
    done = train(made / "data", tmp_path / "ready", ready)
    assert done.details["params"] == Artifact.load(made / "teacher").details["params"]
    config = json.loads((made / "teacher" / "config.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    for file in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (other / file).write_bytes((made / "teacher" / file).read_bytes())
    (other / "config.json").write_text(json.dumps(config | {"problem_type": "single_label_classification"}))
    with pytest.raises(InputError, match=r"gives a text one label \(single_label_classification in its config.json\)"):
        train(made / "data", tmp_path / "refused", TeacherConfig(model=str(other), train=False, max_length=24))


def test_the_recipe_of_the_readme_loads(tmp_path: Path) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    block = readme.partition("### Several labels per text")[2].partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "tickets.toml").write_text(block)
    recipe = load_recipe(tmp_path / "tickets.toml")
    assert (recipe.task.kind, recipe.task.metric, recipe.calibrate.threshold_target) == ("multi", "micro_f1", 0.9)


@pytest.mark.wide
def test_a_recipe_runs_from_data_to_report(tmp_path: Path, encoder: Path) -> None:
    tiny_multi.write_csv(tmp_path / "train.csv", tiny_multi.rows(600, seed=1))
    (tmp_path / "recipe.toml").write_text(tiny_multi.RECIPE.replace('"encoder"', f'"{encoder}"'))
    out = tmp_path / "run"
    results: dict[str, Any] = run(load_recipe(tmp_path / "recipe.toml"), out, tmp_path, Silent())
    assert results["kind"] == "multi"
    rows = {f"{row['name']}/{row['variant']}": row for row in results["models"]}
    assert rows["cnn/int8"]["metrics"]["test"]["micro_f1"]["value"] > 0.9
    assert rows["cnn/int8"]["retention"]["value"] > 0.9
    assert len(rows["cnn/int8"]["confusion"]) == 4 and len(rows["cnn/int8"]["thresholds"]) == 4
    pictures = {path.name for path in (out / "report").glob("*.png")}
    assert pictures >= {"confusion.png", "teacher_vs_student_label_distribution.png", "calibration-reliability.png"}
    report = (out / "report" / "report.md").read_text()
    assert "Thresholds" in report and "print(prediction.labels)" in report
    assert "any number of labels per text" in (out / "students/cnn/int8/README.md").read_text()
    before = moments(out)
    run(load_recipe(tmp_path / "recipe.toml"), out, tmp_path, Silent())
    assert moments(out) == before
    recipe = load_recipe(tmp_path / "recipe.toml")
    single = recipe.model_copy(update={"task": TaskConfig(name="tiny", labels=list(tiny_multi.LABELS))})
    with pytest.raises(RecipeError, match=r"belongs to the task 'tiny' with labels .*, any number of them per text"):
        run(single, out, tmp_path, Silent())
