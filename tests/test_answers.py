"""Learning from a teacher that is not a model: what a recipe may ask for, the students, the test, the forecast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from answers_kit import TASK, labelled, prepared, settings, split_of
from fake_endpoint import serving
from understudy.artifact import Artifact
from understudy.benchmarking import benchmark
from understudy.cli import main
from understudy.config import BenchmarkConfig, Recipe, TeacherConfig, TextCNNStudent, TransformerStudent, parse
from understudy.errors import ArtifactError, DataError, RecipeError
from understudy.estimating import estimate
from understudy.pipeline import plan
from understudy.progress import Silent
from understudy.searching import home_of
from understudy.speed import Speed
from understudy.training import distill

SMALL: dict[str, Any] = {
    "width": 16, "vocabulary": 80, "epochs": 8, "batch_size": 8, "learning_rate": 1e-2, "device": "cpu",
    "precision": "fp32",
}  # fmt: skip
FUNCTION = """\
GOOD = {"lovely", "great", "superb", "charming", "splendid"}

def answer(texts):
    sure = [(text.split()[-1] in GOOD) != ("not" in text.split()) for text in texts]
    return [[0.1, 0.9] if good else [0.9, 0.1] for good in sure]
"""


def write_table(path: Path, texts: list[str]) -> None:
    names: dict[str, Any] = {}
    exec(FUNCTION, names)
    rows = zip(texts, names["answer"](texts), strict=True)
    tiny.write_csv(path, [(text, *answer) for text, answer in rows], ("text", "bad", "good"))


def recipe(**changes: Any) -> Recipe:
    raw: dict[str, Any] = {
        "task": TASK.model_dump(),
        "data": {"train": "train.csv", "val": "val.csv", "test": "test.csv", "unlabeled": ["more.csv"]},
        "teacher": {"kind": "table", "path": "t.csv"},
        "students": [{"name": "cnn", "kind": "textcnn", "filters": 8, "min_count": 1, **SMALL}],
    }
    return parse(Recipe, raw | changes, "r.toml")


# What a recipe may ask for


NO_NETWORK = "student a: a teacher of kind table has no layers, tokens or embeddings to start from"
UNREAD = "is for a teacher that is a model, and this one is a table: remove it"


def table(**given: Any) -> dict[str, Any]:
    return {"teacher": {"kind": "table", "path": "x"} | given}


def student(**given: Any) -> dict[str, Any]:
    return {"students": [{"name": "a"} | given]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (student(kind="cut"), f"{NO_NETWORK}: choose another kind than cut"),
        (student(kind="bilstm", teacher_embeddings=True), f"{NO_NETWORK}: set teacher_embeddings = false"),
        (student(kind="bigru", tokens="teacher"), f'{NO_NETWORK}: set tokens = "words"'),
        (
            student(kind="transformer", hidden_weight=1.0) | {"distill": {"attention_weight": 1.0}},
            f"{NO_NETWORK}: set hidden_weight to 0",
        ),
        (
            student(kind="transformer") | {"tune": {"space": {"hidden_weight": {"low": 0.0, "high": 1.0}}}},
            f"label.hidden_states {UNREAD}",
        ),
        ({"label": {"folds": 3}}, f"label.folds {UNREAD}"),
        ({"label": {"attention": True}}, f"label.attention {UNREAD}"),
        ({"label": {"device": "cpu"}}, f"label.device {UNREAD}"),
        ({"label": {"batch_size": 3}}, f"label.batch_size {UNREAD}"),
        (
            {"benchmark": {"pipeline": False}},
            "benchmark.pipeline times a teacher that is a model, and this one is a table",
        ),
        (table(kind="tabel"), "teacher: unknown kind 'tabel'; did you mean 'table'?"),
        ({"teacher": {"kind": "table"}}, "key 'teacher.path' is missing"),
        (table(epochs=3), "key 'teacher.epochs' is for teachers of kind model, not table"),
        (table(scales="logit"), "unknown key 'teacher.scales'; did you mean 'scale'?"),
        ({"teacher": {"path": "x"}}, "key 'teacher.path' is for teachers of kind table, not model"),
        ({"teacher": {"kind": "function", "function": "f"}}, "teacher.function: string should match pattern"),
    ],
)
def test_what_makes_no_sense_with_such_a_teacher(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipe(**changes)
    assert str(error.value).startswith(f"r.toml: {message}")
    assert "\n" not in str(error.value)


def test_a_function_is_given_as_many_texts_as_the_recipe_says() -> None:
    assert recipe(teacher={"kind": "function", "function": "m:f"}, label={"batch_size": 3}).label.batch_size == 3
    assert recipe(teacher={"kind": "model"}).teacher == recipe(teacher={}).teacher == TeacherConfig()


# Students


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data, with a table that lacks three texts of train and two without a label."""
    ready = prepared(tmp_path_factory.mktemp("data") / "home", (200, 60, 30, 10))
    texts = {name: list(split_of(ready, name).texts) for name in ("train", "val", "test", "unlabeled")}
    write_table(ready.parent / "t.csv", texts["train"][3:] + texts["val"] + texts["test"] + texts["unlabeled"][2:])
    (ready.parent / "fine.py").write_text(FUNCTION, encoding="utf-8")
    return ready


@pytest.fixture(scope="module")
def labels(data: Path) -> Path:
    return labelled(data, settings("table", path="t.csv", max_missing=0.2)).path


def test_a_student_learns_from_the_texts_that_have_an_answer(data: Path, labels: Path, tmp_path: Path) -> None:
    soft = Artifact.load(labels, "labels")
    assert soft.measurements["unanswered"] == {"train": 3, "unlabeled": 2}
    student = TextCNNStudent(name="cnn", filters=8, min_count=1, soft_weight=1.0, **SMALL)
    made = distill(data.parent / "teacher", labels, data, tmp_path / "cnn", student)
    assert made.measurements["steps"] == 8 * -(-(197 + 8) // 8)  # 205 texts in batches of 8
    assert made.measurements["history"][-1]["val_accuracy"] > 0.7
    assert made.text is not None and made.text.max_length == 128  # max_length = 0: there is no teacher's to take
    half = student.model_copy(update={"soft_weight": 0.5})
    twin = distill(data.parent / "teacher", labels, data, tmp_path / "twin", half, use_teacher=False)
    assert abs(twin.measurements["steps"] - made.measurements["steps"]) < 25


def test_a_student_with_a_length_of_its_own(data: Path, labels: Path, tmp_path: Path) -> None:
    student = TransformerStudent(name="t", layers=1, heads=2, max_length=9, **SMALL | {"epochs": 1})
    made = distill(data.parent / "teacher", labels, data, tmp_path / "t", student)
    assert made.text is not None and made.text.max_length == 9


def test_stages_refuse_a_student_that_needs_a_network(data: Path, labels: Path, tmp_path: Path) -> None:
    for student in (
        TextCNNStudent(name="cnn", teacher_embeddings=True, **SMALL),
        TextCNNStudent(name="cnn", tokens="teacher", **SMALL),
        TransformerStudent(name="cnn", hidden_weight=1.0, **SMALL),
    ):
        with pytest.raises(
            RecipeError, match="student cnn: a teacher of kind table has no layers, tokens or embeddings"
        ):
            distill(data.parent / "teacher", labels, data, tmp_path / "cnn", student)
    assert not (tmp_path / "cnn").exists()


def test_a_directory_of_another_kind_is_refused(data: Path, labels: Path, tmp_path: Path) -> None:
    student = TextCNNStudent(name="cnn", **SMALL)
    with pytest.raises(ArtifactError, match="is a data directory, expected a model or answers directory"):
        distill(data, labels, data, tmp_path / "cnn", student)


# The test split


def test_the_teachers_row_has_its_own_answers_and_no_speed(
    data: Path, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.speed.measure", lambda runners, *given: [Speed() for _ in runners])
    config = BenchmarkConfig(speed_texts=4, repeats=1, bootstrap=100)
    made = benchmark([], data, tmp_path / "b", config, teacher=data.parent / "teacher", labels=labels, notes={})
    results = json.loads((made.path / "results.json").read_text(encoding="utf-8"))
    row = next(model for model in results["models"] if model["role"] == "teacher")
    assert (row["name"], row["variant"], row["bytes"], row["speed"]) == ("teacher", "table", None, [])
    assert row["metrics"]["test"]["accuracy"] == {
        "value": 1.0,
        "ci95": row["metrics"]["test"]["accuracy"]["ci95"],
        "n": 30,
    }
    bag = next(model for model in results["models"] if model["name"] == "tfidf-lr")
    assert bag["agreement"]["value"] == pytest.approx(bag["metrics"]["test"]["accuracy"]["value"])
    with np.load(made.path / "logits" / "teacher-table.npz") as file:
        assert list(file["ids"]) == list(split_of(data, "test").ids)
    assert row["temperature"] == Artifact.load(labels).temperature


# Without a network, and the forecast


def test_the_steps_of_a_run(data: Path, tmp_path: Path) -> None:
    steps = [step.out for step in plan(recipe(), tmp_path, data.parent, Silent())]
    assert steps[:4] == ["data", "teacher", "labels", "students/cnn/torch"]
    assert not [step for step in steps if step.startswith("teacher-")]
    assert home_of(tmp_path, recipe()) == tmp_path / "tune" / "cnn"
    with pytest.raises(DataError, match=r"gone.csv: no such file; the recipe's teacher.path names it"):
        list(plan(recipe(teacher={"kind": "table", "path": "gone.csv"}), tmp_path, data.parent, Silent()))


def test_a_forecast_counts_calls_and_cost(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert estimate(recipe(), tmp_path / "run", data.parent).teacher_calls == 0
    function = {"kind": "function", "function": "fine.py:answer"}
    assert estimate(recipe(teacher=function), tmp_path / "run", data.parent).teacher_calls == 300
    assert estimate(recipe(teacher=function | {"test": False}), tmp_path / "run", data.parent).teacher_calls == 270
    with serving() as server:
        asked = {"kind": "endpoint", "url": server.url, "model": "m", "price_per_million_input": 1.0}
        forecast = estimate(recipe(teacher=asked), tmp_path / "run", data.parent)
        assert forecast.teacher_calls == 300
        assert forecast.bill is not None and forecast.bill.cost > 0
        assert f"teacher: about {forecast.bill}" in forecast.to_text()
        assert "without the time that the endpoint takes" in forecast.to_text()
        assert json.loads(json.dumps(forecast.to_dict()))["bill"]["calls"] == 300
        assert server.bodies == []
    assert not (tmp_path / "run").exists()


def test_an_edited_table_is_to_do_again(data: Path, labels: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name in ("train.csv", "val.csv", "test.csv", "more.csv", "t.csv"):
        (home / name).write_bytes((data.parent / name).read_bytes())
    mine = recipe(teacher={"kind": "table", "path": "t.csv", "max_missing": 0.2})
    for step in list(plan(mine, home / "run", home, Silent()))[:3]:
        step.work()
    assert [there for _, there in estimate(mine, home / "run", home).steps[:3]] == [True, True, True]
    with (home / "t.csv").open("a", encoding="utf-8") as file:
        file.write("one more text,0.5,0.5\n")
    assert [there for _, there in estimate(mine, home / "run", home).steps[:3]] == [True, False, False]


# The commands


def test_the_commands_one_by_one(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toml = tmp_path / "r.toml"
    toml.write_text(
        '[task]\nlabels = ["bad", "good"]\n[data]\ntrain = "train.csv"\n[teacher]\nkind = "function"\n'
        'function = "fine.py:answer"\n[[students]]\nname = "s"\nkind = "textcnn"\n',
        encoding="utf-8",
    )
    (tmp_path / "fine.py").write_text(FUNCTION, encoding="utf-8")
    teacher, soft = str(tmp_path / "teacher"), str(tmp_path / "labels")

    def call(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        return int(end.value.code or 0), capsys.readouterr().err

    train = ("train", str(toml), "--data", str(data), "--out", teacher)
    code, said = call(*train, "--epochs", "3")
    assert (code, said) == (
        2,
        "understudy: --epochs is for a teacher that is a model; the recipe's is of kind function\n",
    )
    assert call(*train)[0] == 0
    code, said = call("label", teacher, "--data", str(data), "--out", soft, "--folds", "2")
    assert (code, said) == (
        2,
        "understudy: label.folds is for a teacher that is a model, and this one is a function: remove it\n",
    )
    assert call("label", teacher, "--data", str(data), "--out", soft, "--batch-size", "7")[0] == 0
