"""Tracking: a real MLflow, on a store in a temporary directory, says what the finished directories say, once."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from making import OTHER, make
from understudy import tracking as module
from understudy.artifact import Artifact, Plan, writing
from understudy.config import Recipe, load_recipe
from understudy.errors import MissingExtraError
from understudy.pipeline import run
from understudy.progress import Silent
from understudy.tracking import NOTE, flat, numbers, tracking

HISTORY = [{"epoch": 1.0, "loss": 0.9, "val_macro_f1": 0.5, "learning_rate": 1e-3},
           {"epoch": 2.0, "loss": 0.4, "val_macro_f1": 0.8, "learning_rate": 5e-4}]  # fmt: skip


class Listener(Silent):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and no runs: making the tables takes seconds."""
    home = tmp_path_factory.mktemp("store")
    MlflowClient(f"sqlite:///{home}/mlflow.db").search_experiments()
    return home / "mlflow.db"


@pytest.fixture
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)  # where MLflow keeps files
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    yield tmp_path / "mlflow.db"


@pytest.fixture
def recipe(workshop: Path) -> Recipe:
    return load_recipe(workshop / "recipe.toml").model_copy(update={"track": "mlflow"})


def runs(store: Path) -> dict[str, Run]:
    """The active runs by name; no name may come twice."""
    client = MlflowClient(f"sqlite:///{store}")
    found = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    names = [run.info.run_name for run in found]
    assert len(set(names)) == len(names)
    return dict(zip(names, found, strict=True))


def files(found: Run) -> set[str]:
    return {file.path for file in MlflowClient().list_artifacts(found.info.run_id)}


def test_every_stage_of_a_run_is_a_run_once(
    workshop: Path, finished_run: Path, recipe: Recipe, store: Path, tmp_path: Path
) -> None:
    out, listener = tmp_path / "out", Listener()
    shutil.copytree(finished_run, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "run.log"}
    results = run(recipe, out, workshop, listener)
    assert not [note for note in listener.notes if "again" in note or "warning: MLflow" in note]
    assert all(path.read_bytes() == content for path, content in before.items())  # it changes no stage
    assert f"tracked: mlflow ui --backend-store-uri sqlite:///{store}" in listener.notes
    found = runs(store)
    stages = {path.parent.relative_to(out).as_posix() for path in out.rglob("artifact.json")}
    assert set(found) == stages | {"out"}
    parent = found["out"]
    assert {found[name].data.tags.get("mlflow.parentRunId") for name in stages} == {parent.info.run_id}
    assert {one.info.status for one in found.values()} == {"FINISHED"}
    assert all("artifact.json" in files(found[name]) for name in stages)
    assert files(found["report"]) == {path.name for path in (out / "report").iterdir()}
    assert files(parent) == {"recipe.json"}
    for name in ("students/half/int8", "students/cnn/torch", "teacher"):
        assert files(found[name]) == {"artifact.json", *Artifact.load(out / name).files}
    assert files(found["benchmark"]) == {"artifact.json", "results.json"}
    assert files(found["data"]) == files(found["labels"]) == {"artifact.json"}

    teacher = Artifact.load(out / "teacher")
    assert found["teacher"].data.params["learning_rate"] == json.dumps(teacher.config["learning_rate"])
    for name in ("loss", "val_nll", "val_macro_f1", "learning_rate"):
        curve = MlflowClient().get_metric_history(found["teacher"].info.run_id, name)
        expected = [(int(epoch["epoch"]), epoch[name]) for epoch in teacher.measurements["history"]]
        assert [(point.step, point.value) for point in curve] == expected

    measured = {f"{model['name']}/{model['variant']}": model for model in results["models"]}
    score = measured["half/int8"]["metrics"]["test"]["accuracy"]
    own = found["students/half/int8"].data.metrics
    assert [own[f"test.accuracy{end}"] for end in ("", ".low", ".high")] == [score["value"], *score["ci95"]]
    assert own["calibration.after.nll"] > 0
    assert parent.data.metrics["half.int8/test.accuracy"] == score["value"]
    assert "tfidf-lr.sklearn/test.macro_f1" in found["benchmark"].data.metrics

    run(recipe, out, workshop, listener)
    again = runs(store)
    assert {name: one.info.run_id for name, one in again.items()} == {n: one.info.run_id for n, one in found.items()}
    points = MlflowClient().get_metric_history(again["teacher"].info.run_id, "loss")
    assert len(points) == len(teacher.measurements["history"])


def test_new_facts_of_an_artifact_join_its_run_and_a_new_artifact_is_another(
    recipe: Recipe, store: Path, tmp_path: Path
) -> None:
    made = make(tmp_path / "out/teacher", measurements={"history": HISTORY, "seconds": 3}, warnings=["odd"])
    with tracking(recipe, tmp_path / "out", Silent()) as record:
        record("teacher")
    first = runs(store)["teacher"]
    assert first.data.tags["mlflow.note.content"] == "odd"
    assert first.info.end_time - first.info.start_time == 3000
    made.rewrite(measurements=made.measurements | {"calibration": {"after": {"nll": 0.2}}})
    with tracking(recipe, tmp_path / "out", Silent()) as record:
        record("teacher calibrated")
    second = runs(store)["teacher"]
    assert second.info.run_id == first.info.run_id
    assert second.data.metrics["calibration.after.nll"] == 0.2
    assert len(MlflowClient().get_metric_history(first.info.run_id, "loss")) == 2
    make(tmp_path / "out/teacher", OTHER)
    with tracking(recipe, tmp_path / "out", Silent()) as record:
        record("teacher")
    client = MlflowClient()
    found = client.search_runs([first.info.experiment_id], "attributes.run_name = 'teacher'")
    assert len(found) == 2


def test_files_that_ship_are_recorded_once_and_no_text(
    recipe: Recipe, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGEST", 10)

    def write(kind: str, name: str, sizes: dict[str, int]) -> Artifact:
        with writing(tmp_path / "out" / name, Plan("s", {"name": name}, {}, 0), kind) as draft:
            for file, size in sizes.items():
                (draft.path / file).parent.mkdir(exist_ok=True)
                (draft.path / file).write_bytes(b"x" * size)
        return Artifact.load(tmp_path / "out" / name)

    model = write("model", "int8", {"model.onnx": 10, "tokenizer.json": 3, "model.safetensors": 11, "epochs/a": 2})
    write("answers", "teacher", {"answers.csv": 5, "teacher.json": 5})
    for kind in ("data", "labels", "annotated"):
        write(kind, kind, {"train.parquet": 4, f"{kind}.csv": 4})
    names = ("int8", "teacher", "data", "labels", "annotated")
    with tracking(recipe, tmp_path / "out", Silent()) as record:
        for name in names:
            record(name)
    found = runs(store)
    assert files(found["int8"]) == {"artifact.json", "model.onnx", "tokenizer.json", "epochs"}
    assert files(found["teacher"]) == {"artifact.json", "teacher.json"}
    assert all(files(found[name]) == {"artifact.json"} for name in names[2:])
    copied: list[str] = []
    monkeypatch.setattr(MlflowClient, "log_artifact", lambda self, run, path, parent: copied.append(Path(path).name))
    model.rewrite(measurements={"calibration": {"nll": 0.2}})
    with tracking(recipe, tmp_path / "out", Silent()) as record:
        record("int8 calibrated")
    assert set(copied) == {"recipe.json", "artifact.json"}  # the recipe is that of this call


def test_what_a_kill_left_behind_is_put_right(recipe: Recipe, store: Path, tmp_path: Path) -> None:
    make(tmp_path / "out/teacher")
    code = (
        "import os, sys, pathlib\nfrom understudy import tracking\nfrom understudy.config import load_recipe\n"
        "from understudy.progress import Silent\n"
        "tracking._Store._finish = lambda *a: os.kill(os.getpid(), 9)\n"
        f"recipe = load_recipe(pathlib.Path({str(tmp_path / 'recipe.toml')!r}))\n"
        "with tracking.tracking(recipe, pathlib.Path('out'), Silent()) as record:\n    record('teacher')\n"
    )
    (tmp_path / "recipe.toml").write_text(
        'track = "mlflow"\n[task]\nname = "tiny"\nlabels = ["bad", "good"]\n[data]\ntrain = "t"\n'
        '[[students]]\nkind = "cut"\n'
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ, check=False)
    assert killed.returncode == -9
    assert {name: one.info.status for name, one in runs(store).items()} == {"out": "RUNNING", "teacher": "RUNNING"}
    with tracking(recipe, tmp_path / "out", Silent()) as record:
        record("teacher")
    assert {name: one.info.status for name, one in runs(store).items()} == {"out": "FINISHED", "teacher": "FINISHED"}


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")])
def test_a_run_that_ends_early_says_so(
    error: type[BaseException], status: str, recipe: Recipe, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(error), tracking(recipe, tmp_path / "out", Silent()):
        raise error
    assert runs(store)["out"].info.status == status


def test_every_trial_of_a_search_is_a_run_below_it(recipe: Recipe, store: Path, tmp_path: Path) -> None:
    home = tmp_path / "out/tune/cnn"
    home.mkdir(parents=True)
    row: dict[str, Any] = {"number": 0, "state": "complete", "temperature": 2.5, "objective": 0.3, "val_nll": 0.3,
                           "epochs_trained": 4, "seconds": 1.5, "error": ""}  # fmt: skip
    failed = row | {"number": 1, "state": "failed", "objective": "", "val_nll": "", "error": "out of memory"}

    def table(*rows: dict[str, Any]) -> None:
        with (home / "hypersearch.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerows(rows)
        with tracking(recipe, tmp_path / "out", Silent()) as record:
            record("tune/cnn")

    table(row, failed | {"state": "running", "error": ""})
    assert set(runs(store)) == {"out", "tune/cnn", "tune/cnn/0"}
    table(row, failed)
    found = runs(store)
    assert set(found) == {"out", "tune/cnn", "tune/cnn/0", "tune/cnn/1"}
    assert found["tune/cnn/0"].data.params == {"temperature": "2.5"}
    assert found["tune/cnn/0"].data.metrics == {"objective": 0.3, "val_nll": 0.3, "epochs_trained": 4, "seconds": 1.5}
    assert found["tune/cnn/1"].info.status == "FAILED"
    assert found["tune/cnn/1"].data.tags["mlflow.note.content"] == "out of memory"
    assert found["tune/cnn/1"].data.tags["mlflow.parentRunId"] == found["tune/cnn"].info.run_id
    assert files(found["tune/cnn"]) == {"hypersearch.csv", "tune.json"}


def test_a_server_that_does_not_answer_costs_a_line_and_no_work(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    make(tmp_path / "out/teacher")
    listener, begun = Listener(), time.monotonic()
    with tracking(recipe, tmp_path / "out", listener) as record:
        record("teacher")
    (note,) = listener.notes
    assert note.startswith("  warning: MLflow cannot record this: ") and "secret" not in note
    assert "\n" not in note
    assert time.monotonic() - begun < 60
    assert not (tmp_path / "out" / NOTE).exists()


def test_without_the_extra_nothing_is_begun(
    recipe: Recipe, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'understudy\[track\]'"):
        run(recipe, tmp_path / "out", workshop, Silent())
    assert not (tmp_path / "out/data").exists()


def test_without_tracking_mlflow_is_not_asked(tmp_path: Path, workshop: Path) -> None:
    with tracking(load_recipe(workshop / "recipe.toml"), tmp_path, Silent()) as record:
        record("teacher")
    assert not list(tmp_path.iterdir())


def test_names_and_values_are_those_that_mlflow_takes() -> None:
    facts = {"classes": {"<b>/ü": 3}, "ok": True, "f1": {"value": 0.5, "ci95": [0.4, 0.6], "n": 9}, "none": None}
    assert numbers(facts) == {"classes._b__ü": 3.0, "f1": 0.5, "f1.low": 0.4, "f1.high": 0.6}
    assert flat({"a": {"b": [1, "x"]}, "c": "text", "d": None}) == {"a.b": '[1, "x"]', "c": "text", "d": "null"}
