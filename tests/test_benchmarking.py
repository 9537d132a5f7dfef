"""What is measured is what ships, on test, with its controls."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy import Classifier
from understudy.artifact import Artifact
from understudy.data.storing import read_split
from understudy.metrics import METRICS, confusion, mcnemar


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


def test_comparisons_are_paired_and_named(results: dict[str, Any], finished_run: Path) -> None:
    pairs = {(c["first"], c["second"]): c for c in results["comparisons"]}
    for student in ("half", "fresh", "cnn"):
        assert (f"{student}/int8", "teacher/fp32") in pairs
        assert (f"{student}/int8", f"{student}/fp32") in pairs
        assert (f"{student}/int8", "tfidf-lr/sklearn") in pairs
    assert ("half/fp32", "half-no-teacher/fp32") in pairs
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
        assert {(row["threads"], row["batch"]) for row in rows} >= {(1, 1), (1, 32)}
        for row in rows:
            assert 0 < row["p50"] <= row["p95"] <= row["p99"]
            assert row["texts_per_second"] > 0
        assert models[name]["peak_rss"] > 10e6
        assert models[name]["load_ms"] > 0
    assert models["teacher/fp32"]["speedup_vs"]["onnx_fp32"] == 1.0
    assert models["teacher/torch"]["speedup_vs"]["pipeline"] == 1.0
    assert results["machine"]["cpu"]
    assert isinstance(results["machine"]["instruction_set"], list)


def test_plain_csv_files_say_the_same(results: dict[str, Any], finished_run: Path) -> None:
    with (finished_run / "benchmark" / "quality.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    models = _models(results)
    assert len(rows) == sum(len(split) for model in models.values() for split in model["metrics"].values())
    for row in rows:
        value = models[f"{row['model']}/{row['variant']}"]["metrics"][row["split"]][row["metric"]]["value"]
        assert float(row["value"]) == pytest.approx(value)
    assert (finished_run / "benchmark" / "speed.csv").exists()


def test_results_name_no_directory_of_this_machine(finished_run: Path) -> None:
    for name in ("results.json", "report.html", "report.md"):
        text = (finished_run / "report" / name).read_text(encoding="utf-8")
        assert str(finished_run.parent) not in text


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
