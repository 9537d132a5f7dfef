"""benchmark A B --data FILE."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

import tiny
from understudy.cli import understudy
from understudy.comparison import compare_on_file
from understudy.config import BenchmarkConfig
from understudy.errors import InputError

QUICK = BenchmarkConfig(speed_texts=8, repeats=1, bootstrap=100)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_csv(tmp_path_factory.mktemp("file") / "new.csv", tiny.rows(60, seed=4))


def test_artifacts_and_a_torch_classifier_side_by_side(finished_run: Path, labelled: Path) -> None:
    models = [
        str(finished_run / "students/cnn/int8"),
        str(finished_run / "teacher-fp32"),
        str(finished_run / "teacher"),
    ]
    results = compare_on_file(models, labelled, QUICK)
    assert results["n"] == 60
    assert results["models"][0]["name"] == "cnn/int8"
    accuracy = [model["metrics"]["file"]["accuracy"]["value"] for model in results["models"]]
    assert accuracy[1] == accuracy[2]  # the same teacher, in ONNX and in torch
    assert len(results["comparisons"]) == 3
    same = results["comparisons"][2]
    assert same["difference"]["value"] == 0
    assert same["mcnemar"]["p"] == 1


@pytest.mark.wide
def test_a_torch_classifiers_labels_are_met_by_name(finished_run: Path, labelled: Path, tmp_path: Path) -> None:
    home = shutil.copytree(finished_run / "teacher", tmp_path / "foreign")
    (home / "artifact.json").unlink()
    config = json.loads((home / "config.json").read_text(encoding="utf-8"))
    config |= {"id2label": {"0": "good", "1": "BAD"}, "label2id": {"good": 0, "BAD": 1}}
    (home / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = load_file(home / "model.safetensors")
    swapped = {name: t.flip(0) if name.startswith("classifier.") else t for name, t in tensors.items()}
    save_file(swapped, home / "model.safetensors", {"format": "pt"})
    models = [str(finished_run / "teacher-fp32"), str(home)]
    measured = compare_on_file(models, labelled, QUICK, max_length=16)["models"]
    one, other = (model["metrics"]["file"]["accuracy"] for model in measured)
    assert one == other
    config |= {"id2label": {"0": "good", "1": "LABEL_1"}, "label2id": {"good": 0, "LABEL_1": 1}}
    (home / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match="the classifier's labels do not fit the task's: missing: 'bad'"):
        compare_on_file(models, labelled, QUICK, max_length=16)
    mapped = compare_on_file(models, labelled, QUICK, max_length=16, label_map={"LABEL_1": "bad"})["models"]
    assert mapped[1]["metrics"]["file"]["accuracy"] == one


def test_the_command_prints_a_verdict_for_each_pair(finished_run: Path, labelled: Path) -> None:
    models = [str(finished_run / "students/cnn/int8"), str(finished_run / "students/fresh/int8")]
    flags = ["--speed-texts", "8", "--repeats", "1", "--bootstrap", "100"]
    shown = CliRunner().invoke(understudy, ["benchmark", *models, "--data", str(labelled), *flags])
    assert shown.exit_code == 0, shown.output
    assert "fresh/int8 is " in shown.stdout and " cnn/int8" in shown.stdout
    assert "McNemar p = " in shown.stdout
    as_json = CliRunner().invoke(understudy, ["benchmark", *models, "--data", str(labelled), *flags, "--json"])
    found = json.loads(as_json.stdout)
    assert found["task"] == "tiny"
    (pair,) = found["comparisons"]
    assert pair["upgrade"]["said"][0] in shown.stdout
    assert pair["upgrade"]["difference"]["value"] == -pair["difference"]["value"]


def test_ci_is_told_of_an_upgrade_that_is_not_safe_and_which_texts_change(
    finished_run: Path, labelled: Path, tmp_path: Path
) -> None:
    models = [str(finished_run / "students/cnn/int8"), str(finished_run / "students/fresh/int8")]
    command = ["benchmark", *models, "--data", str(labelled), "--speed-texts", "8", "--repeats", "1"]
    command += ["--bootstrap", "100", "--json", "--fail-if-worse"]
    changes = ["--changes", str(tmp_path / "changes.csv")]
    strict, lenient = (CliRunner().invoke(understudy, [*command, *more]) for more in (
        ["--margin", "0.01", *changes], ["--margin", "100"]
    ))  # fmt: skip
    assert (strict.exit_code, lenient.exit_code) == (3, 0)  # 60 texts cannot rule out a loss of a hundredth of a point
    found = json.loads(strict.stdout)["comparisons"][0]["upgrade"]
    assert found["margin"] == 0.0001 and "n = 60" in found["said"][0]
    with (tmp_path / "changes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found["changed"]
    assert [row["change"] for row in rows].count("broken") == found["broken"]
    again = CliRunner().invoke(understudy, [*command, *changes])
    assert str(again.exception).endswith("changes.csv: exists; choose another name or remove it")


@pytest.mark.parametrize(
    ("names", "flags", "why"),
    [
        (["cnn"], ["--margin", "1"], "--margin compares two models, got one"),
        (["cnn", "fresh", "half"], ["--changes", "x.csv"], "--changes is for two models, got 3"),
    ],
)
def test_an_upgrade_is_of_two_models(
    names: list[str], flags: list[str], why: str, finished_run: Path, labelled: Path
) -> None:
    models = [str(finished_run / "students" / name / "int8") for name in names]
    done = CliRunner().invoke(understudy, ["benchmark", *models, "--data", str(labelled), *flags])
    assert isinstance(done.exception, InputError) and str(done.exception).startswith(why)
    prepared = CliRunner().invoke(
        understudy, ["benchmark", *models, "--data", str(finished_run / "data"), "--fail-if-worse"]
    )
    assert str(prepared.exception).startswith("--fail-if-worse is for a labelled file, and --data ")


def test_what_cannot_be_compared_is_refused(finished_run: Path, labelled: Path, tmp_path: Path) -> None:
    student = str(finished_run / "students/cnn/int8")
    written = CliRunner().invoke(understudy, ["benchmark", student, "--data", str(labelled), "--no-predictions"])
    assert isinstance(written.exception, InputError)
    assert "--labels and --predictions are for a directory that `prepare` wrote" in str(written.exception)
    with pytest.raises(InputError, match=r"^benchmark was given the same model twice$"):
        compare_on_file([student, student], labelled, QUICK)
    with pytest.raises(
        InputError, match=r"^benchmark needs at least one understudy artifact, which says what the labels"
    ):
        compare_on_file(["some/hub-model"], labelled, QUICK)
