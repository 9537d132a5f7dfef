"""The whole run: what it leaves behind, what it does again, and that killing it changes nothing."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from making import moments
from understudy.artifact import Artifact, Plan, writing
from understudy.config import Recipe, load_recipe
from understudy.errors import DataError, RecipeError
from understudy.estimating import estimate
from understudy.pipeline import _trainings, plan, run
from understudy.progress import Silent
from understudy.quantization import GateRefusedError, quantize
from understudy.students import only


class Listener(Silent):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_exact_files(finished_run: Path) -> None:
    onnx = {"artifact.json", "model.onnx", "tokenizer.json"}
    torch = {"artifact.json", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    expected = {
        ".": {"run.json", "run.log"},
        "data": {"artifact.json", "train.parquet", "val.parquet", "test.parquet"},
        "teacher": torch | {"README.md"},
        "teacher-fp32": onnx | {"README.md"},
        "students/half/torch": torch | {"README.md"},
        "students/cnn/torch": torch - {"tokenizer_config.json"} | {"README.md"},
        **{f"students/{name}/{v}": onnx | {"README.md"} for name in ("half", "cnn") for v in ("fp32", "fp16", "int8")},
        "controls/half-no-teacher/fp32": onnx,
        "report": {
            "artifact.json", "report.html", "report.md", "report.txt", "results.json", "accuracy.png", "tradeoff.png",
            "size.png", "training.png", "confusion.png", "calibration-reliability.png", "risk-coverage.png",
            "calibration.csv", "teacher_vs_student_accuracy.png", "teacher_vs_student_label_distribution.png",
        },
    }  # fmt: skip
    for directory, names in expected.items():
        found = {path.name for path in (finished_run / directory).iterdir() if path.is_file() and path.name != ".lock"}
        assert found == names, directory
    assert not list(finished_run.rglob(".*.partial"))


def test_variants_and_controls_are_those_of_the_recipe(workshop: Path, tmp_path: Path) -> None:
    recipe = load_recipe(workshop / "recipe.toml")

    def steps(**changes: Any) -> set[str]:
        return {step.out for step in plan(recipe.model_copy(update=changes), tmp_path, workshop, Silent())}

    names = [student.name for student in recipe.students]
    twins = {"none": [], "first": names[:1], "all": names}
    for controls, expected in twins.items():
        found = {step.split("/")[1] for step in steps(controls=controls) if step.startswith("controls/")}
        assert found == {f"{name}-no-teacher" for name in expected}
    assert steps() - steps(variants=["fp32", "int8"]) == {
        step for name in names for step in (f"students/{name}/fp16", f"students/{name}/fp16 calibrated")
    }


def test_the_results_hold_what_became_of_every_training(workshop: Path, tmp_path: Path) -> None:
    recipe = load_recipe(workshop / "recipe.toml").model_copy(update={"controls": "none"})
    stages: dict[str, Any] = {"gold_stage": {"kept": True}, "quantized_stage": {"kept": False}, "mlm": {"texts": 3}}
    measured = {"history": [], "best_epoch": 1, "seconds": 2.0, **stages}
    for home in ("teacher", *(f"students/{student.name}/torch" for student in recipe.students)):
        with writing(tmp_path / home, Plan("train", {}, {}, 1), "model") as draft:
            draft.measurements = measured | {"steps": 7}
    found = _trainings(recipe, tmp_path)
    assert [training.pop("name") for training in found] == ["teacher", *(s.name for s in recipe.students)]
    assert found == [measured | {"warnings": []}] * len(found)


def test_further_seeds_and_hard_label_twins_have_steps_of_their_own(workshop: Path, tmp_path: Path) -> None:
    """And the seed is all that moves: data, teacher and labels are asked for once."""
    recipe = load_recipe(workshop / "recipe.toml").model_copy(update={"variants": ["int8"]})
    more = recipe.model_copy(update={"seeds": 2, "twins": ["no-teacher", "hard-label"]})
    before, after = ([step.out for step in plan(one, tmp_path, workshop, Silent())] for one in (recipe, more))
    assert [name for name in after if name in before] == before
    torch_fp32 = ("torch", "fp32")
    assert set(after) - set(before) == {
        *(f"students/{s}/seeds/6/{file}" for s in ("half", "fresh", "cnn") for file in (*torch_fp32, "int8")),
        *(f"students/{s}/seeds/6/int8 calibrated" for s in ("half", "fresh", "cnn")),
        *(f"controls/half-hard-label{below}/{file}" for below in ("", "/seeds/6") for file in torch_fp32),
        *(f"controls/half-hard-label{below}/fp32 calibrated" for below in ("", "/seeds/6")),
        *(f"controls/half-no-teacher/seeds/6/{file}" for file in (*torch_fp32, "fp32 calibrated")),
    }


@pytest.mark.wide
def test_a_run_of_several_seeds(workshop: Path, finished_run: Path, tmp_path: Path) -> None:
    """What is there stays; the test split is opened once for all seeds; a second run does nothing."""
    out = shutil.copytree(finished_run, tmp_path / "run")
    recipe = load_recipe(workshop / "recipe.toml")
    quick = recipe.benchmark.model_copy(update={"speed_texts": 8, "bootstrap": 100, "pipeline": False, "margin": 50.0})
    changes = {"seeds": 2, "twins": ["no-teacher", "hard-label"], "variants": ["int8"], "benchmark": quick}
    several = only(recipe.model_copy(update=changes), ["half"])
    listener = Listener()
    results = run(several, out, workshop, listener)
    assert {note.split(" is made")[0] for note in listener.notes if "again" in note} == {"run/benchmark", "run/report"}
    models = {f"{model['name']}/{model['variant']}": model for model in results["models"]}
    assert {"half/int8", "half-no-teacher/fp32", "half-hard-label/fp32"} <= set(models)
    assert models["half-hard-label/fp32"]["role"] == "control"
    first, second = (Artifact.load(out / f"students/half{below}/torch") for below in ("", "/seeds/6"))
    assert (first.seed, second.seed) == (5, 6) and first.inputs == second.inputs and first.digest != second.digest
    seeds = models["half/int8"]["seeds"]
    assert seeds["files"]["6"]["path"] == "students/half/seeds/6/int8"
    assert seeds["files"]["6"]["temperature"] == Artifact.load(out / seeds["files"]["6"]["path"]).temperature
    assert (out / "benchmark/logits/half-int8-seed-6.npz").exists()
    hard = Artifact.load(out / "controls/half-hard-label/torch")
    assert hard.config["loss"] == "hard" and hard.details["soft_labels"]
    worth = [pair["holm"] for pair in results["comparisons"] if "twins" in pair.get("holm", {}).get("family", "")]
    assert len(worth) == 2 and all(one["test"] == "bootstrap over seeds and texts" for one in worth)
    before = moments(out)
    run(several, out, workshop, Silent())
    assert moments(out) == before


def test_a_second_run_does_nothing(workshop: Path, finished_run: Path) -> None:
    before = moments(finished_run)
    begun = time.monotonic()
    listener = Listener()
    run(load_recipe(workshop / "recipe.toml", {"trials": 7}), finished_run, workshop, listener)  # of no concern to it
    assert moments(finished_run) == before
    assert not [note for note in listener.notes if "again" in note]
    assert time.monotonic() - begun < 20


def test_an_edited_recipe_reruns_what_the_edit_affects_and_says_so(
    workshop: Path, finished_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished_run, out)
    recipe = load_recipe(workshop / "recipe.toml")
    students = [s.model_copy(update={"temperature": 4.0}) if s.name == "cnn" else s for s in recipe.students]
    listener = Listener()
    run(recipe.model_copy(update={"students": students}), out, workshop, listener)
    again = [note for note in listener.notes if "again" in note]
    assert again[0] == "cnn/torch is made again, because of temperature"
    assert {note.split(" is made")[0].split("/", 1)[-1] for note in again} >= {"torch", "fp32", "fp16", "int8"}
    for untouched in ("teacher", "labels", "students/half/int8", "students/fresh/int8"):
        assert Artifact.load(out / untouched).key == Artifact.load(finished_run / untouched).key
        assert not any(note.startswith(untouched.removeprefix("students/")) for note in again)
    assert Artifact.load(out / "students/cnn/int8").digest != Artifact.load(finished_run / "students/cnn/int8").digest


def test_a_refused_file_is_said_in_the_report_and_nobody_measures_it(
    workshop: Path, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, *given: Any, precision: str, **named: Any) -> Artifact:
        if precision == "int8" and (source.parent.name == "cnn" or source.name == "teacher-fp32"):
            raise GateRefusedError(f"int8 of {source.parent.name} was refused: it loses too much")
        return quantize(source, *given, precision=precision, **named)

    monkeypatch.setattr("understudy.variants.quantize", refuse)
    out = shutil.copytree(finished_run, tmp_path / "run")
    listener = Listener()
    results = run(with_teacher_files(load_recipe(workshop / "recipe.toml"), "int8"), out, workshop, listener)
    assert "benchmark is made again, because of another recipe" in [n.split("/", 1)[-1] for n in listener.notes]
    assert not (out / "students/cnn/int8").exists() and not (out / "teacher-int8").exists()
    found = {f"{model['name']}/{model['variant']}" for model in results["models"]}
    assert not {"cnn/int8", "teacher/int8"} & found
    assert results["refused"] == [f"int8 of {name} was refused: it loses too much" for name in ("run", "cnn")]
    assert "Refused: int8 of cnn was refused: it loses too much." in (out / "report/report.md").read_text()
    assert "Refused: int8 of run was refused: it loses too much." in (out / "report/report.md").read_text()


def with_teacher_files(recipe: Recipe, *variants: str) -> Recipe:
    teacher = recipe.teacher.model_copy(update={"variants": ["fp32", *variants]})
    return recipe.model_copy(update={"teacher": teacher})


def test_the_teachers_files_and_both_kinds_of_int8_are_measured_beside_the_students(
    workshop: Path, finished_run: Path, tmp_path: Path
) -> None:
    """On some of the students: nothing that is there is made again, now or when all are asked for later."""
    out, recipe = shutil.copytree(finished_run, tmp_path / "run"), load_recipe(workshop / "recipe.toml")
    quick = recipe.benchmark.model_copy(update={"speed_texts": 8, "bootstrap": 100, "pipeline": False})
    changes = {"variants": ["int8", "int8-dynamic"], "benchmark": quick}
    whole = with_teacher_files(recipe, "fp16", "int8").model_copy(update=changes)
    listener = Listener()
    results = run(only(whole, ["cnn"]), out, workshop, listener)
    again = {note.split(" is made")[0] for note in listener.notes if "again" in note}
    assert again == {"run/benchmark", "run/report"}
    rows = {f"{model['name']}/{model['variant']}": model for model in results["models"]}
    files = {"teacher/fp32", "teacher/fp16", "teacher/int8", "cnn/int8", "cnn/int8-dynamic"}
    assert set(rows) == {*files, "majority/none", "tfidf-lr/sklearn"}
    assert rows["teacher/int8"]["bytes"] < rows["teacher/fp16"]["bytes"] < rows["teacher/fp32"]["bytes"]
    for key in files:
        row = rows[key]
        assert row["metrics"]["test"]["macro_f1"]["n"] == 70 and len(row["per_class"]) == 2
        assert row["speed"][0]["p50"] > 0 and row["speedup_vs"]["onnx_fp32"] > 0 and row["calibration"]
        assert (out / row["path"] / "README.md").exists()
    assert [rows[f"teacher/{variant}"]["path"] for variant in ("fp16", "int8")] == ["teacher-fp16", "teacher-int8"]
    pairs = {(pair["first"], pair["second"]) for pair in results["comparisons"]}
    assert {("teacher/fp16", "teacher/fp32"), ("teacher/int8", "teacher/fp32"), ("cnn/int8", "teacher/fp32")} <= pairs
    assert ("cnn/int8", "teacher/int8") not in pairs
    assert any("dynamic INT8" in warning for warning in rows["cnn/int8-dynamic"]["warnings"])
    assert not any("dynamic INT8" in warning for warning in rows["cnn/int8"]["warnings"])
    assert results["recipe"]["teacher"]["variants"] == ["fp32", "fp16", "int8"]
    report = (out / "report/report.md").read_text(encoding="utf-8")
    per_class = [line for line in report.splitlines() if line.startswith("| Label | n |")]
    assert all(any(f" {key} " in line for line in per_class) for key in files)
    forecast = estimate(whole, out, workshop)
    to_do = {name for name, there in forecast.steps if not there}
    made = {f"students/{name}/int8-dynamic" for name in ("half", "fresh")}
    assert to_do == {*made, *(f"{name} calibrated" for name in made), "benchmark", "model cards", "report"}


def test_a_directory_of_another_task_is_refused(workshop: Path, finished_run: Path) -> None:
    recipe = load_recipe(workshop / "recipe.toml")
    other = recipe.model_copy(update={"task": recipe.task.model_copy(update={"labels": ["good", "bad"]})})
    with pytest.raises(RecipeError, match=r"belongs to the task 'tiny' with labels bad, good; this recipe's task is"):
        run(other, finished_run, workshop, Silent())


def test_a_label_that_was_forgotten_can_be_added_before_anything_is_finished(workshop: Path, tmp_path: Path) -> None:
    recipe = load_recipe(workshop / "recipe.toml")
    task = recipe.task.model_copy(update={"labels": ["bad", "fair"]})
    with pytest.raises(DataError, match=r"'good'"):
        run(recipe.model_copy(update={"task": task}), tmp_path / "out", workshop, Silent())

    class StopError(Exception):
        pass

    class Stopping(Silent):
        def note(self, message: str) -> None:
            if "teacher" in message:
                raise StopError

    with pytest.raises(StopError):  # the data is prepared, and nobody refused
        run(recipe, tmp_path / "out", workshop, Stopping())
    (tmp_path / "out" / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"run.json is damaged; choose another --out, or delete"):
        run(recipe, tmp_path / "out", workshop, Silent())


def test_a_run_tells_of_its_data(workshop: Path, tmp_path: Path) -> None:
    rows = (workshop / "train.csv").read_text(encoding="utf-8")
    (tmp_path / "train.csv").write_text(rows + rows.splitlines()[1] + "\n,good\n", encoding="utf-8")

    class StopError(Exception):
        pass

    class Stopping(Listener):
        def note(self, message: str) -> None:
            super().note(message)
            if "teacher" in message:
                raise StopError

    listener = Stopping()
    with pytest.raises(StopError):
        run(load_recipe(workshop / "recipe.toml"), tmp_path / "out", tmp_path, listener)
    assert [" ".join(note.split()) for note in listener.notes[1:-1]] == [
        "train 560 rows bad 280, good 280; always bad: 50.0%",
        "val 70 rows bad 35, good 35; always bad: 50.0%",
        "test 70 rows bad 35, good 35; always bad: 50.0%",
        "warning: train: 1 rows without a text dropped",
        "warning: train: 1 repeated texts dropped",
    ]


def test_a_foreign_directory_is_left_as_it_is(workshop: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(
        RecipeError, match=r"holds files that understudy did not write; choose another --out or empty it"
    ):
        run(load_recipe(workshop / "recipe.toml"), tmp_path, workshop, Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("most", "students"), [(2, ["cnn"]), pytest.param(12, ["half", "cnn"], marks=pytest.mark.wide)]
)
def test_killed_again_and_again_it_ends_with_equal_weights(
    workshop: Path, tmp_path: Path, most: int, students: list[str]
) -> None:
    """SIGKILL at random moments, in trainings too, against one run that nobody disturbed."""
    text = (workshop / "recipe.toml").read_text(encoding="utf-8")
    text = text.replace("epochs = 5", "epochs = 14").replace('"encoder"', f'"{workshop / "encoder"}"')
    text = text.replace("[benchmark]", "[benchmark]\npipeline = false")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('controls = "none"\nvariants = ["fp32", "int8"]\n' + text, encoding="utf-8")
    command = [sys.executable, "-m", "understudy", "run", str(recipe), "--data", str(workshop)]
    command += ["--students", ",".join(students), "--out"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    calm, harried = tmp_path / "calm", tmp_path / "harried"
    subprocess.run([*command, str(calm)], check=True, capture_output=True, env=environment)
    rng = random.Random(most)
    kills = 0
    while kills < most:
        process = subprocess.Popen(
            [*command, str(harried)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        try:
            process.wait(rng.uniform(2.0, 6.0))
            shutil.rmtree(harried)  # it came to its end: from the start, until there were enough kills
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    subprocess.run([*command, str(harried)], check=True, capture_output=True, env=environment)
    homes = [f"students/{name}/{variant}" for name in students for variant in ("torch", "int8")]
    for home in ("teacher", "labels", *homes):
        undisturbed, disturbed = (Artifact.load(out / home, verify=True) for out in (calm, harried))
        assert disturbed.files == undisturbed.files, home
        assert disturbed.decision == undisturbed.decision, home
    assert not [path for path in harried.rglob(".*") if path.name != ".lock"]
