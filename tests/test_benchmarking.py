"""What is measured is what ships, on test, with its controls."""

from __future__ import annotations

import csv
import json
import math
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tiny import LABELS
from understudy import Classifier
from understudy.answers import Answers
from understudy.artifact import Artifact
from understudy.benchmarking import Entry, benchmark
from understudy.calibration_metrics import calibration_study
from understudy.choosing import choose
from understudy.cli import understudy
from understudy.config import BenchmarkConfig
from understudy.data.storing import read_split
from understudy.data.task import Split, Task
from understudy.decision import Decision
from understudy.errors import InputError
from understudy.metrics import METRICS, confusion, mcnemar
from understudy.recording import write_predictions
from understudy.speed import Runner, Speed


@pytest.fixture(scope="module")
def results(finished_run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((finished_run / "report" / "results.json").read_text(encoding="utf-8"))
    return found


def _models(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{model['name']}/{model['variant']}": model for model in results["models"]}


def test_every_file_and_every_control_is_there(results: dict[str, Any]) -> None:
    students = {f"{name}/{variant}" for name in ("half", "fresh", "cnn") for variant in ("fp32", "fp16", "int8")}
    others = {"teacher/torch", "teacher/fp32", "half-no-teacher/fp32", "tfidf-lr/sklearn", "majority/none"}
    assert set(_models(results)) == students | others


def test_figures_are_those_of_the_shipped_files(results: dict[str, Any], finished_run: Path) -> None:
    test = read_split(finished_run / "data" / "test.parquet", "test")
    models = _models(results)
    for name in ("half/int8", "cnn/fp32"):
        predicted = Classifier.load(finished_run / "students" / name).logits(test.texts).argmax(axis=1)
        for metric in ("accuracy", "macro_f1", "macro_recall"):
            value = float(METRICS[metric](confusion(test.labels, predicted, 2)))
            assert models[name]["metrics"]["test"][metric]["value"] == pytest.approx(value)
            assert models[name]["metrics"]["test"][metric]["n"] == len(test)


def test_stored_logits_bear_the_figures_out(results: dict[str, Any], finished_run: Path) -> None:
    home = finished_run / "benchmark"
    truth = np.load(home / "labels.npz")
    test = read_split(finished_run / "data" / "test.parquet", "test")
    assert truth["ids"].tolist() == list(test.ids)
    for model in results["models"]:
        if model["metrics"]:
            stored = np.load(home / "logits" / f"{model['name']}-{model['variant']}.npz")
            accuracy = float((stored["logits"].argmax(axis=1) == truth["labels"]).mean())
            assert model["metrics"]["test"]["accuracy"]["value"] == pytest.approx(accuracy)


def test_the_calibration_study_follows_from_the_stored_logits(results: dict[str, Any], finished_run: Path) -> None:
    home, val = finished_run / "benchmark", read_split(finished_run / "data" / "val.parquet", "val")
    truth = {"test": np.load(home / "labels.npz"), "val": np.load(home / "val" / "labels.npz")}
    assert truth["val"]["ids"].tolist() == list(val.ids)
    np.testing.assert_array_equal(truth["val"]["labels"], val.labels)
    studied = {key: model for key, model in _models(results).items() if "calibration_study" in model}
    assert set(studied) == set(_models(results)) - {"teacher/torch", "tfidf-lr/sklearn", "majority/none"}
    for key, model in studied.items():
        file = f"logits/{key.replace('/', '-')}.npz"
        logits = {"test": np.load(home / file)["logits"], "val": np.load(home / "val" / file)["logits"]}
        splits = {split: (logits[split], truth[split]["labels"]) for split in ("val", "test")}
        assert model["calibration_study"] == calibration_study(splits, model["temperature"], 200, 5)
        after = model["calibration_study"]["test"]["after"]["measures"]
        assert all(after[name] == model["metrics"]["test"][name] for name in ("accuracy", "ece", "brier", "nll"))
        fitted = model["calibration_study"]["val"]
        assert fitted["before"]["measures"]["nll"]["value"] == pytest.approx(model["calibration"]["before"]["nll"])
        assert fitted["after"]["measures"]["nll"]["value"] == pytest.approx(model["calibration"]["after"]["nll"])
    shipped = Classifier.load(finished_run / "students" / "cnn" / "int8")
    np.testing.assert_array_equal(np.load(home / "val/logits/cnn-int8.npz")["logits"], shipped.logits(val.texts))


def test_validation_figures_are_those_that_choose_finds(results: dict[str, Any], finished_run: Path) -> None:
    stored = {f"{row['name']}/{row['variant']}": row.get("validation") for row in results["models"]}
    found = {one.key: one.quality.to_dict() for one in choose(finished_run).candidates}
    assert len(found) > 3 and {key: stored[key] for key in found} == found


def test_comparisons_are_paired_and_named(results: dict[str, Any], finished_run: Path) -> None:
    pairs = {(c["first"], c["second"]): c for c in results["comparisons"]}
    for student in ("half", "fresh", "cnn"):
        assert (f"{student}/int8", "teacher/fp32") in pairs
        assert (f"{student}/int8", f"{student}/fp32") in pairs
        assert (f"{student}/int8", "tfidf-lr/sklearn") in pairs
    assert {first for first, second in pairs if second == "half-no-teacher/fp32"} == {
        "half/fp32", "half/fp16", "half/int8"
    }  # fmt: skip
    home, labels = finished_run / "benchmark" / "logits", np.load(finished_run / "benchmark" / "labels.npz")["labels"]
    one, two = (np.load(home / f"{n}.npz")["logits"].argmax(axis=1) for n in ("cnn-int8", "teacher-fp32"))
    expected = mcnemar(labels, one, two)
    found = pairs["cnn/int8", "teacher/fp32"]["mcnemar"]
    assert (found["only_first"], found["only_second"]) == (expected.only_first, expected.only_second)
    assert found["p"] == pytest.approx(expected.p)


def test_bytes_are_all_that_predict_reads(results: dict[str, Any], finished_run: Path) -> None:
    home = finished_run / "students" / "cnn" / "int8"
    read = sum((home / name).stat().st_size for name in ("model.onnx", "tokenizer.json"))
    size = _models(results)["cnn/int8"]["bytes"]
    assert read < size <= read + (home / "artifact.json").stat().st_size + 4096


def test_speed_has_its_conditions(results: dict[str, Any]) -> None:
    models = _models(results)
    for name in ("teacher/torch", "teacher/fp32", "cnn/int8", "tfidf-lr/sklearn"):
        rows = models[name]["speed"]
        assert {row["batch"] for row in rows} == {1, 32}  # 32 texts make no batch of 256
        assert 1 in {row["threads"] for row in rows}
        for row in rows:
            assert 0 < row["p50"] <= row["p95"] <= row["p99"]
            assert row["texts_per_second"] > 0
    peaks = {name: models[name]["peak_rss"] for name in ("teacher/torch", "teacher/fp32", "cnn/int8")}
    assert all(30e6 < peaks[name] < peaks["teacher/torch"] / 2 for name in ("teacher/fp32", "cnn/int8")), peaks
    assert 50 < models["cnn/int8"]["load_ms"] < models["teacher/torch"]["load_ms"]
    assert models["tfidf-lr/sklearn"]["load_ms"] is models["tfidf-lr/sklearn"]["peak_rss"] is None  # it is fitted there
    assert models["teacher/fp32"]["speedup_vs"]["onnx_fp32"] == 1.0
    assert models["teacher/torch"]["speedup_vs"]["pipeline"] == 1.0
    assert results["machine"]["cpu"]
    assert isinstance(results["machine"]["instruction_set"], list)


def test_memory_is_that_of_the_process_itself() -> None:
    child = "from understudy.machine import peak_memory; print(peak_memory())"
    parent = (
        f"ballast = bytearray(400_000_000); import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    )
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True)
    assert 5e6 < int(done.stdout) < 200e6


def test_paths_are_given_from_the_directory_of_the_run(results: dict[str, Any], finished_run: Path) -> None:
    paths = {key: model["path"] for key, model in _models(results).items() if model["path"]}
    assert paths["half/int8"] == "students/half/int8"
    assert paths["teacher/fp32"] == "teacher-fp32"
    assert paths["half-no-teacher/fp32"] == "controls/half-no-teacher/fp32"
    assert all((finished_run / path / "artifact.json").exists() for path in paths.values())


def test_the_stages_one_by_one_end_in_a_report(finished_run: Path, tmp_path: Path) -> None:
    models = ["teacher-fp32", "students/cnn/int8", "students/half/fp32", "controls/half-no-teacher/fp32"]
    arguments = [str(finished_run / model) for model in models]
    arguments += ["--data", str(finished_run / "data"), "--teacher", str(finished_run / "teacher")]
    quick = ["--speed-texts", "8", "--repeats", "1", "--bootstrap", "100", "--out", str(tmp_path / "measured")]
    done = CliRunner().invoke(understudy, ["benchmark", *arguments, *quick])
    assert done.exit_code == 0, done.output
    found = _models(json.loads((tmp_path / "measured" / "results.json").read_text(encoding="utf-8")))
    assert {key: model["role"] for key, model in found.items() if model["role"] != "control"} == {
        "teacher/torch": "teacher", "teacher/fp32": "teacher", "cnn/int8": "student", "half/fp32": "student",
    }  # fmt: skip
    assert "half-no-teacher/fp32" in found
    done = CliRunner().invoke(understudy, ["report", str(tmp_path / "measured"), "--out", str(tmp_path / "report")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000
    twice = CliRunner().invoke(understudy, ["benchmark", *arguments[:1], *arguments, *quick])
    assert isinstance(twice.exception, InputError)
    assert str(twice.exception).endswith("a second teacher/fp32; results are kept by name and variant")


def test_every_setting_of_the_measurement_is_heeded(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def measure(runners: list[Runner], texts: list[str], threads: list[int], repeats: int, advance: Any) -> list[Speed]:
        asked.update(texts=len(texts), repeats=repeats, runners=[runner.module for runner in runners])
        return [Speed(best={1: np.ones(1)}) for _ in runners]

    monkeypatch.setattr("understudy.benchmarking.speed.measure", measure)
    entries = [Entry("teacher", "teacher", finished_run / "teacher-fp32")]
    intervals = []
    for number, (config, pipeline) in enumerate(
        [
            (BenchmarkConfig(speed_texts=9, repeats=2, bootstrap=100), True),
            (BenchmarkConfig(speed_texts=5, repeats=1, bootstrap=300, pipeline=False, predictions=False), False),
        ]
    ):
        out, teacher = tmp_path / str(number), finished_run / "teacher"
        benchmark(entries, finished_run / "data", out, config, teacher=teacher, notes={})
        assert (asked["texts"], asked["repeats"]) == (config.speed_texts, config.repeats)
        assert ("understudy.training.pipeline_worker" in asked["runners"]) == pipeline
        found = _models(json.loads((out / "results.json").read_text(encoding="utf-8")))
        assert ("teacher/torch" in found) == pipeline
        assert (out / "predictions").exists() == config.predictions
        with np.load(out / "traits.npz") as traits:
            assert set(traits) == {"ids", "words", "unknown/teacher-fp32"}
        intervals.append(found["teacher/fp32"]["metrics"]["test"]["macro_f1"]["ci95"])
    assert intervals[0] != intervals[1]


def test_plain_csv_files_say_the_same(results: dict[str, Any], finished_run: Path) -> None:
    with (finished_run / "benchmark" / "quality.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    models = _models(results)
    assert len(rows) == sum(len(split) for model in models.values() for split in model["metrics"].values())
    for row in rows:
        value = models[f"{row['model']}/{row['variant']}"]["metrics"][row["split"]][row["metric"]]["value"]
        assert float(row["value"]) == pytest.approx(value)
    assert (finished_run / "benchmark" / "speed.csv").exists()


def test_every_model_has_its_predictions_beside_the_texts(results: dict[str, Any], finished_run: Path) -> None:
    test = read_split(finished_run / "data" / "test.parquet", "test")
    home = finished_run / "benchmark" / "predictions"
    measured = {key.replace("/", "-") for key, model in _models(results).items() if model["metrics"]}
    assert {path.stem for path in home.iterdir()} == measured
    with (home / "cnn-int8.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "text", "gold", "label", "confidence", "p_bad", "p_good"]
    assert [(row["id"], row["text"]) for row in rows] == list(zip(test.ids, test.texts, strict=True))
    assert [row["gold"] for row in rows] == [LABELS[label] for label in test.labels]
    shipped = Classifier.load(finished_run / "students" / "cnn" / "int8").predict(test.texts)
    for row, prediction in zip(rows, shipped, strict=True):
        assert row["label"] == prediction.label
        assert float(row["confidence"]) == pytest.approx(prediction.confidence, abs=1e-6)
        found = {label: float(row[f"p_{label}"]) for label in LABELS}
        assert found == pytest.approx(prediction.probabilities, abs=1e-6)


def test_predictions_of_several_labels_and_cells_that_a_spreadsheet_would_run(tmp_path: Path) -> None:
    task = Task("tiny", ("arts", "praise"), "micro_f1", "multi")
    test = Split("test", ["t1", "t2"], ["=1+1", 'a "b",\nc'], np.array([[1, 1], [0, 0]]))
    logits = np.array([[2.0, 1.0], [-1.0, 0.0]], dtype=np.float32)
    write_predictions(tmp_path, task, test, {"cnn/int8": Answers(logits, Decision("multi", 2.0, (0.7, 0.4)))})
    with (tmp_path / "predictions" / "cnn-int8.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    shares = [[f"{1 / (1 + math.exp(-z / 2)):.6f}" for z in row] for row in logits.tolist()]
    assert rows == [
        ["id", "text", "gold", "labels", "p_arts", "p_praise"],
        ["t1", "'=1+1", "arts|praise", "arts|praise", *shares[0]],
        ["t2", 'a "b",\nc', "", "praise", *shares[1]],
    ]


def test_what_is_committed_of_a_run_holds_no_text(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect = Path(__file__).parent.parent / "benchmarks" / "collect.py"
    if not collect.exists():
        pytest.skip("benchmarks/ does not come with the sdist")
    monkeypatch.setattr(sys, "argv", ["collect.py", str(finished_run), str(tmp_path)])
    runpy.run_path(str(collect), run_name="__main__")
    home = tmp_path / "seed-5"
    files = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    assert {name for name in files if "logits/" not in name} == {
        "results.json", "quality.csv", "speed.csv", "labels.npz", "traits.npz", "val/labels.npz"
    }  # fmt: skip
    test = read_split(finished_run / "data" / "test.parquet", "test")
    plain = (path for kind in ("csv", "json", "md") for path in tmp_path.rglob(f"*.{kind}"))  # of students, too
    written = "".join(path.read_text(encoding="utf-8") for path in plain)
    assert "accuracy" in written and not [text for text in test.texts if text in written]


def test_results_name_no_directory_of_this_machine(finished_run: Path) -> None:
    for name in ("results.json", "report.html", "report.md"):
        text = (finished_run / "report" / name).read_text(encoding="utf-8")
        assert str(finished_run) not in text


def test_no_stage_but_benchmark_needs_the_test_split(workshop: Path, finished_run: Path, tmp_path: Path) -> None:
    """Law 5: with the test split gone, every stage before benchmark runs again and gives the same files."""
    from understudy.config import load_recipe
    from understudy.pipeline import plan
    from understudy.progress import Silent

    out = tmp_path / "run"
    shutil.copytree(finished_run, out)
    data = Artifact.load(out / "data")
    files = {name: entry for name, entry in data.files.items() if name != "test.parquet"}
    data.rewrite(files=files)
    (out / "data" / "test.parquet").unlink()
    for home in (out / "students" / "cnn", out / "labels"):
        shutil.rmtree(home)
    for step in plan(load_recipe(workshop / "recipe.toml"), out, workshop, Silent()):
        if step.out.startswith(("labels", "students/cnn")):
            step.work()
    for variant in ("torch", "fp32", "int8"):
        before, after = (Artifact.load(home / "students/cnn" / variant).files for home in (finished_run, out))
        weights = "model.safetensors" if variant == "torch" else "model.onnx"
        assert before[weights]["sha256"] == after[weights]["sha256"]
