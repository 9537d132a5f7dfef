"""[budget]: what is proposed, in which order it is tried, where it stops, and that the test split stays closed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from invented import simulate
from making import moments
from understudy import Classifier, cli, climbing, speed
from understudy.artifact import Artifact
from understudy.choosing import choose
from understudy.climbing import ladder, outcome
from understudy.config import STUDENT_KINDS, BudgetConfig, CutStudent, HashedStudent, Recipe, load_recipe
from understudy.data.storing import read_split
from understudy.errors import ArtifactError, RecipeError
from understudy.estimating import estimate
from understudy.hashing import Hashing, Sizes
from understudy.pipeline import Step, plan, run
from understudy.pooled_tables import insert_pooled
from understudy.progress import Silent
from understudy.reporting import findings
from understudy.reporting.frontier import size_tradeoff, tradeoff
from understudy.reporting.stage import _evidence
from understudy.reporting.view import prepared
from understudy.sizes import Size, student_size
from understudy.students import twins
from understudy.training.exporting import to_onnx
from understudy.training.hashed import HashedNgrams

EASY = {"max_mb": 50.0, "min_retention": 0.01}
IMPOSSIBLE = {"max_mb": 0.001, "min_retention": 0.01}
RAW: dict[str, Any] = {
    "task": {"name": "mood", "labels": ["bad", "good"]}, "data": {"train": "train.csv"}, "budget": EASY,
}  # fmt: skip


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


def budgeted(workshop: Path, budget: dict[str, Any], **changes: Any) -> Recipe:
    """The recipe of the finished run with a budget; its cheapest student is the last of the three."""
    recipe = load_recipe(workshop / "recipe.toml")
    quick = recipe.benchmark.model_copy(update={"speed_texts": 8, "bootstrap": 100, "pipeline": False})
    fixed = {"budget": BudgetConfig(**budget), "benchmark": quick, "controls": "none", "variants": ["int8"]}
    return recipe.model_copy(update=fixed | changes)


def try_all(recipe: Recipe, out: Path, base: Path) -> Step:
    """Do what comes before the benchmark, and return its step."""
    for step in plan(recipe, out, base, Silent()):
        if step.out == "benchmark":
            return step
        step.work()
    raise AssertionError("no benchmark")


@pytest.fixture
def begun(finished_run: Path, tmp_path: Path) -> Path:
    """A run whose students are all trained, and nothing of it measured."""
    out = Path(shutil.copytree(finished_run, tmp_path / "run"))
    shutil.rmtree(out / "benchmark")
    shutil.rmtree(out / "report")
    return out


def test_a_budget_that_the_first_rung_meets_stops_there(workshop: Path, begun: Path) -> None:
    recipe, notes = budgeted(workshop, EASY), Notes()
    results = run(recipe, begun, workshop, notes)
    assert [path.name for path in (begun / "tries").iterdir()] == ["cnn"]
    budget = results["budget"]
    assert (budget["tried"], budget["not_tried"]) == (["cnn"], ["half", "fresh"])
    assert budget["met"].startswith("cnn/") and budget["nearest"] == []
    assert {m["name"] for m in results["models"] if m["role"] == "student"} == {"cnn"}
    assert not any("half" in said or "fresh" in said for said in notes.said)
    assert any(said.endswith(": fits the budget") and "cnn/int8 (" in said for said in notes.said)
    assert any("Met by cnn/" in sentence and "Not tried, dearer: half, fresh." in sentence
               for sentence in findings(results))  # fmt: skip
    assert "Orange: the limits of the recipe" in (begun / "report/report.md").read_text()
    found = {one.key: one.to_dict(recipe.budget) for one in choose(begun).candidates}
    for file in budget["files"]:  # of validation the benchmark says the same
        for name in ("quality", "retention", "bytes"):
            assert file[name] == found[file["key"]][name]
    before = moments(begun)
    run(recipe, begun, workshop, Silent())
    assert moments(begun) == before


def test_an_impossible_budget_tries_all_and_says_the_nearest_misses(
    workshop: Path, begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From what an easier one has tried: nothing is measured twice. The command ends with 3."""
    try_all(budgeted(workshop, EASY), begun, workshop)
    before, recipe = moments(begun / "tries"), budgeted(workshop, IMPOSSIBLE)
    try_all(recipe, begun, workshop)
    assert {path: moment for path, moment in moments(begun / "tries").items() if path in before} == before
    rungs = ladder(recipe, begun)
    budget = outcome(rungs, begun, rungs.students)
    assert (budget["tried"], budget["not_tried"], budget["met"]) == (["cnn", "half", "fresh"], [], None)
    assert budget["nearest"] == [file["key"] for file in sorted(budget["files"], key=lambda file: file["bytes"])]
    invented = json.loads((simulate(tmp_path / "benchmark", rows=60) / "results.json").read_text())
    monkeypatch.setattr("understudy.pipeline.run", lambda *given: invented | {"budget": budget})
    with pytest.raises(SystemExit) as end:
        cli.main(["run", str(workshop / "recipe.toml"), "--out", str(begun)])
    said = capsys.readouterr().out
    assert end.value.code == 3 and "report: " in said
    assert f"None meets it. Nearest: {budget['nearest'][0]} (" in said and "MB too large" in said


def test_a_try_measures_validation_alone(workshop: Path, begun: Path) -> None:
    """The file of the test split cannot be read."""
    test = begun / "data/test.parquet"
    test.write_bytes(b"?" * test.stat().st_size)
    measure = try_all(budgeted(workshop, IMPOSSIBLE, variants=["fp32", "fp16", "int8"]), begun, workshop)
    made = {name: Artifact.load(begun / "tries" / name, "try") for name in ("cnn", "half", "fresh")}
    for name, one in made.items():
        assert one.measurements["n"] == 70
        assert [file["key"] for file in one.measurements["files"]] == [f"{name}/{v}" for v in ("fp32", "fp16", "int8")]
        for file in one.measurements["files"]:
            assert 0 <= file["quality"]["value"] <= 1 and file["latency_ms"]["p50"] > 0 and file["texts_per_second"] > 0
            artifact = Artifact.load(begun / "students" / file["key"])
            assert file["bytes"] == artifact.bytes_of(*artifact.files)
    with pytest.raises(ArtifactError, match=r"test\.parquet"):
        measure.work()


@pytest.mark.parametrize("worse", [5, 6])
def test_a_try_judges_the_seed_that_ships(
    workshop: Path, begun: Path, worse: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two equal files answers the opposite on validation; the other is the one that is timed and judged."""
    home = begun / "students/cnn"
    second = Path(shutil.copytree(home / "int8", home / "seeds/6/int8"))
    spoiled, kept = (home / "int8", second) if worse == 5 else (second, home / "int8")
    real, timed, runner = speed.logits_of, list[Path](), speed.artifact_runner

    def answer(artifact: Artifact, texts: Any, *given: Any) -> Any:
        return real(artifact, texts, *given) * (-1 if artifact.path == spoiled else 1)

    def noted(artifact: Artifact, *given: Any) -> Any:
        timed.append(artifact.path)
        return runner(artifact, *given)

    monkeypatch.setattr(speed, "logits_of", answer)
    monkeypatch.setattr(speed, "artifact_runner", noted)
    recipe = budgeted(workshop, EASY, seeds=2)
    student = next(student for student in recipe.students if student.name == "cnn")
    (file,) = climbing.try_out(student, recipe, begun, begun / "data", Silent()).measurements["files"]
    val, artifact = read_split(begun / "data/val.parquet", "val"), Artifact.load(kept)
    right = np.mean(Classifier.load(kept).logits(val.texts).argmax(axis=1) == val.labels)
    assert right > 0.5 and file["key"] == "cnn/int8" and file["quality"]["value"] == pytest.approx(right)
    assert timed == [kept] and file["bytes"] == artifact.bytes_of(*artifact.files)
    assert climbing.fits(student, recipe, begun)
    assert not climbing.fits(student, budgeted(workshop, EASY), begun)  # of one seed that is another question


def test_a_run_that_died_goes_on_where_it_stopped(workshop: Path, begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, measured, real = budgeted(workshop, IMPOSSIBLE), list[str](), climbing._measured

    def measure(entries: Any, *given: Any) -> Any:
        measured.append(entries[0].name)
        if measured[-1] == "half" and measured.count("half") == 1:
            raise KeyboardInterrupt
        return real(entries, *given)

    monkeypatch.setattr(climbing, "_measured", measure)
    with pytest.raises(KeyboardInterrupt):
        try_all(recipe, begun, workshop)
    assert [path.name for path in (begun / "tries").iterdir() if path.name[0] != "."] == ["cnn"]
    try_all(recipe, begun, workshop)
    assert measured == ["cnn", "half", "half", "fresh"]


def test_another_student_is_tried_again_and_only_that(workshop: Path, begun: Path) -> None:
    recipe = budgeted(workshop, IMPOSSIBLE)

    def left(changed: Recipe) -> set[str]:
        return {name for name, there in estimate(changed, begun, workshop).steps if not there}

    try_all(recipe, begun, workshop)
    assert left(recipe) == {"benchmark", "model cards", "report"}
    students = [s.model_copy(update={"temperature": 4.0}) if s.name == "half" else s for s in recipe.students]
    edited = left(recipe.model_copy(update={"students": students}))
    assert {name for name in edited if name.startswith("tries")} == {"tries/half"}
    easier = estimate(budgeted(workshop, EASY), begun, workshop)
    assert [name for name, _ in easier.steps if name.startswith("tries")] == ["tries/cnn"]


def test_the_ladder_that_would_be_tried_is_told(workshop: Path, tmp_path: Path) -> None:
    forecast = estimate(budgeted(workshop, EASY), tmp_path / "absent", workshop)
    assert forecast.ladder == ["cnn", "half", "fresh"]
    assert [name for name, _ in forecast.steps if name.startswith("tries/")] == [f"tries/{n}" for n in forecast.ladder]
    assert "budget: cnn, half, fresh are tried in this order until one fits" in forecast.to_text()
    assert "budget" not in estimate(load_recipe(workshop / "recipe.toml"), tmp_path / "absent", workshop).to_text()


# What is proposed


def test_students_are_proposed_for_a_budget_alone() -> None:
    recipe = Recipe.model_validate(RAW)
    kinds = [student.kind for student in recipe.students]
    assert recipe.proposed and set(kinds) == set(STUDENT_KINDS) - {"pretrained"}
    assert all(getattr(student, "teacher_embeddings", True) for student in recipe.students)
    given = Recipe.model_validate(RAW | {"students": [{"kind": "cut"}]})
    assert not given.proposed and [student.name for student in given.students] == ["student"]


def test_a_key_of_distill_goes_over_the_proposal() -> None:
    """But for the learning rate, of which every kind has its own."""
    shared = {"epochs": 2, "temperature": 5.0, "learning_rate": 0.5}
    recipe = Recipe.model_validate(RAW | {"distill": shared})
    assert {(student.epochs, student.temperature) for student in recipe.students} == {(2, 5.0)}
    assert {s.learning_rate for s in recipe.students if s.kind != "cut"} == {1e-1, 1e-2, 1e-3}


def test_a_teacher_that_is_no_model_cannot_be_cut() -> None:
    recipe = Recipe.model_validate(RAW | {"teacher": {"kind": "table", "path": "p.csv"}})
    assert "cut" not in {student.kind for student in recipe.students}
    assert not any(getattr(student, "teacher_embeddings", False) for student in recipe.students)


def test_the_cheapest_rungs_are_hashed_and_two_of_them_stay_below_a_megabyte(tmp_path: Path) -> None:
    """Of data with more n-grams than they keep, for six labels: the INT8 table and the hashes that ship with it."""
    recipe = Recipe.model_validate(RAW | {"teacher": {"kind": "table", "path": "p.csv"}})
    rungs = [student for student in ladder(recipe, tmp_path).students[:3] if isinstance(student, HashedStudent)]
    assert [(rung.name, rung.width, rung.ngrams) for rung in rungs] == [
        ("linear", 0, 2), ("hashed-small", 16, 2), ("hashed", 32, 2)
    ]  # fmt: skip
    assert [_bytes_in_int8(rung, tmp_path / rung.name) < 1e6 for rung in rungs] == [True, True, False]


def _bytes_in_int8(student: HashedStudent, home: Path) -> int:
    home.mkdir()
    to_onnx(HashedNgrams(student.vocabulary, student.width, 6, 6).eval(), home / "model.onnx")
    model = onnx.load(home / "model.onnx")
    assert insert_pooled(model)
    onnx.save(model, home / "model.onnx")
    seen = np.unique(np.random.default_rng(1).integers(1 << 32, size=student.vocabulary, dtype=np.uint32))
    Hashing.of(Sizes(student.ngrams), seen).save(home)
    return sum(file.stat().st_size for file in home.iterdir())


def test_the_ladder_goes_up_in_cost_and_leaves_out_cuts_that_cut_nothing(encoder: Path, tmp_path: Path) -> None:
    """The encoder has two layers."""
    recipe = Recipe.model_validate(RAW | {"teacher": {"model": str(encoder)}})
    found = ladder(recipe, tmp_path)
    assert not [student for student in found.students if isinstance(student, CutStudent)]
    costs = [student_size(student, Size(0, 0)).per_token for student in found.students]
    assert costs == sorted(costs) and len(costs) > 3
    whole = ladder(Recipe.model_validate(RAW), tmp_path)  # a teacher of six
    assert [s.layers for s in whole.students if isinstance(s, CutStudent)] == [2, 3, 4]
    assert [s.kind for s in whole.students][-3:] == ["cut"] * 3
    given = Recipe.model_validate(RAW | {"teacher": {"model": str(encoder)}, "students": [{"kind": "cut"}]})
    assert ladder(given, tmp_path).students == given.students  # a cut that a recipe asks for is refused by name


def test_without_a_budget_nothing_is_reordered_and_a_dump_is_as_before(workshop: Path, tmp_path: Path) -> None:
    recipe = load_recipe(workshop / "recipe.toml")
    assert ladder(recipe, tmp_path) is recipe and "budget" not in recipe.model_dump()
    assert budgeted(workshop, EASY).model_dump()["budget"]["max_mb"] == 50.0


def test_the_first_twin_is_that_of_the_cheapest(workshop: Path, tmp_path: Path) -> None:
    assert [t.name for t in twins(ladder(budgeted(workshop, EASY, controls="first"), tmp_path))] == ["cnn-no-teacher"]


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({}, "budget: set min_retention and at least one of max_latency_ms, max_mb, min_throughput"),
        ({"max_mb": 2.0}, "budget: set min_retention and at least one of"),
        ({"min_retention": 0.9}, "budget: set min_retention and at least one of"),
        (EASY | {"max_mbs": 2.0}, "unknown key 'budget.max_mbs'; did you mean 'max_mb'?"),
        (EASY | {"min_retention": 98}, "budget.min_retention: input should be less than or equal to 1, got 98"),
        (EASY | {"percentile": "p95"}, "budget: percentile is that of max_latency_ms, which is not set"),
        (3, "budget: input should be a table, got 3"),
    ],
)
def test_a_budget_that_makes_no_sense(tmp_path: Path, budget: Any, message: str) -> None:
    from understudy.config import parse

    with pytest.raises(RecipeError) as error:
        parse(Recipe, RAW | {"budget": budget}, "r")
    assert str(error.value).startswith(f"r: {message}")


# Pictures


def pictured(home: Path, budget: dict[str, Any] | None) -> Iterator[list[Any]]:
    results = prepared(json.loads((home / "results.json").read_text()) | {"budget": budget})
    evidence = _evidence(home, results)
    for picture in (tradeoff, size_tradeoff):
        figure = picture(evidence)
        assert figure is not None
        yield [line for line in figure.axes[0].lines if line.get_color() == "#d55e00"]


def test_the_pictures_show_the_limits(tmp_path: Path) -> None:
    home = simulate(tmp_path / "benchmark", rows=120)
    limits = {"max_mb": 2.0, "max_latency_ms": 1.5, "min_retention": 0.9}
    teacher = next(
        m for m in json.loads((home / "results.json").read_text())["models"] if m["variant"] == "fp32"
    )["metrics"]["test"]["accuracy"]["value"]  # fmt: skip
    lines = list(pictured(home, {"limits": limits, "percentile": "p95", "tried": [], "not_tried": []}))
    assert [drawn[0].get_xdata()[0] for drawn in lines] == [1.5, 2.0]
    assert all(drawn[1].get_ydata()[0] == pytest.approx(0.9 * teacher) for drawn in lines)
    assert list(pictured(home, None)) == [[], []]
