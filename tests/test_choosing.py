"""choose: the pick fits, nothing that fits is better on validation, the test split has no say."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invented import simulate
from understudy import cli
from understudy.budget_settings import Limits
from understudy.choosing import Choice, choose
from understudy.errors import ArtifactError
from understudy.estimates import Estimate
from understudy.fitting import Candidate, best, candidate_from, misses, nearest

TEACHER_MS = 4.6


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's directory with an invented benchmark."""
    home = tmp_path_factory.mktemp("choose")
    simulate(home / "benchmark")
    change(home, lambda results: results.update(bootstrap=200))
    return home


def change(home: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    file = home / "benchmark" / "results.json"
    results = json.loads(file.read_text())
    for model in results["models"]:
        if model["role"] == "teacher" and model["variant"] == "fp32":
            model["path"] = "teacher-fp32"
    edit(results)
    file.write_text(json.dumps(results))


def edited(invented: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    home = Path(shutil.copytree(invented, tmp_path / "run"))
    change(home, edit)
    return home


def rows(results: dict[str, Any], *keys: str) -> list[dict[str, Any]]:
    return [model for model in results["models"] if f"{model['name']}/{model['variant']}" in keys]


LIMITS = [
    {}, {"max_mb": 2.0}, {"max_mb": 6.0, "min_retention": 0.9}, {"max_latency_ms": 0.25},
    {"max_latency_ms": 0.3, "percentile": "p95"}, {"min_throughput": 4000.0, "min_retention": 0.5},
    {"max_mb": 50.0, "max_latency_ms": 3.0, "min_throughput": 600.0},
]  # fmt: skip


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_the_pick_fits_and_nothing_that_fits_is_better_on_validation(invented: Path, limits: dict[str, Any]) -> None:
    asked = Limits(**limits)
    found = choose(invented, asked)
    assert found.choice is not None and not misses(found.choice, asked)
    fitting = [candidate for candidate in found.candidates if not misses(candidate, asked)]
    assert found.choice in fitting
    assert max(candidate.quality.value for candidate in fitting) == found.choice.quality.value
    assert found.path == invented / (
        "teacher-fp32" if found.choice.key == "teacher/fp32" else f"students/{found.choice.key}"
    )
    fits = {"max_mb": lambda c, most: c.bytes / 1e6 <= most, "min_retention": lambda c, s: c.retention.value >= s,
            "max_latency_ms": lambda c, most: c.latency[asked.percentile] <= most,
            "min_throughput": lambda c, least: c.rate >= least}  # fmt: skip
    by_hand = [c for c in found.candidates if all(fits[name](c, limit) for name, limit in asked.given.items())]
    assert [c.key for c in by_hand] == [c.key for c in fitting]
    for other, gap in found.alike:
        assert gap["ci95"][0] <= 0 <= gap["ci95"][1] and other in fitting and other is not found.choice
        assert (other.bytes or 0) < (found.choice.bytes or 0) or other.latency["p50"] < found.choice.latency["p50"]


def test_validation_figures_are_those_of_the_stored_answers(invented: Path) -> None:
    with np.load(invented / "benchmark/val/labels.npz") as file:
        truth = dict(zip(file["ids"], file["labels"], strict=True))

    def accuracy(key: str) -> float:
        with np.load(invented / f"benchmark/val/logits/{key.replace('/', '-')}.npz") as file:
            answers = zip(file["ids"], file["logits"].argmax(axis=1), strict=True)
            return float(np.mean([truth[name] == answer for name, answer in answers]))

    for candidate in choose(invented).candidates:
        assert candidate.quality.value == pytest.approx(accuracy(candidate.key))
        assert candidate.quality.low < candidate.quality.value < candidate.quality.high
        assert candidate.retention is not None
        assert candidate.retention.value == pytest.approx(accuracy(candidate.key) / accuracy("teacher/fp32"))


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_test_figures_have_no_say(invented: Path, tmp_path: Path, limits: dict[str, Any]) -> None:
    """They are dealt out anew among the models, and the test answers are gone."""

    def permute(results: dict[str, Any]) -> None:
        measured = [model for model in results["models"] if model["metrics"]]
        dealt = [(m["metrics"], m["retention"], m["confusion"], m["per_class"], m["agreement"]) for m in measured]
        random.Random(3).shuffle(dealt)
        for model, figures in zip(measured, dealt, strict=True):
            model.update(zip(("metrics", "retention", "confusion", "per_class", "agreement"), figures, strict=True))
        results["comparisons"] = []

    home = edited(invented, tmp_path, permute)
    shutil.rmtree(home / "benchmark/logits")
    (home / "benchmark/labels.npz").unlink()
    one, other = choose(invented, Limits(**limits)), choose(home, Limits(**limits))
    assert blind(one) == blind(other)
    assert one.test["score"] != other.test["score"]


def blind(choice: Choice) -> dict[str, Any]:
    return choice.to_dict() | {"test": None, "path": None}


def test_controls_and_the_pipeline_are_never_chosen(invented: Path) -> None:
    keys = {candidate.key for candidate in choose(invented).candidates}
    assert {"teacher/fp32", "cut3/int8", "textcnn/fp16"} <= keys
    assert not {key for key in keys if "no-teacher" in key or key.startswith(("tfidf", "majority"))}
    assert "teacher/torch" not in keys


def test_a_benchmarks_own_directory_does_too(invented: Path) -> None:
    asked = Limits(max_mb=2.0)
    assert choose(invented / "benchmark", asked).to_dict() == choose(invented, asked).to_dict()


@pytest.mark.parametrize("limits", [{"max_mb": 1.0}, {"max_latency_ms": 0.01, "min_retention": 1.0, "max_mb": 3.0}])
def test_where_nothing_fits_the_nearest_misses_are_said(
    invented: Path, limits: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Limits(**limits)
    found = choose(invented, asked)
    assert (found.choice, found.path, found.test, found.alike) == (None, None, {}, [])
    worst = {c.key: max(miss.share for miss in misses(c, asked)) for c in found.candidates}
    assert [worst[c.key] for c in found.nearest] == sorted(worst.values())[:3]
    flags = [part for name, value in limits.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    assert called("choose", str(invented), *flags) == 3
    said = capsys.readouterr().out
    assert "Nothing fits: " in said and found.nearest[0].key in said.split("Nearest:")[1].splitlines()[1]
    assert called("choose", str(invented), *flags, "--json") == 3
    assert json.loads(capsys.readouterr().out) == found.to_dict()


def called(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    return int(end.value.code or 0)


def test_the_command_prints_the_choice_before_its_test_figures(
    invented: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called("choose", str(invented), "--max-mb", "2") == 0
    said = capsys.readouterr().out
    found = choose(invented, Limits(max_mb=2.0))
    assert found.choice is not None
    table, rest = said.split("Choice: ")
    assert rest.startswith(f"{found.choice.key}: of ") and f"Ship: {found.path}" in rest
    assert rest.index("on validation") < rest.index("On test, which had no say in it")
    assert all(candidate.key in table for candidate in found.candidates)


def test_of_several_seeds_the_one_that_ships_is_judged(invented: Path, tmp_path: Path) -> None:
    """Its path, its answers on validation and on test: here those of a better model stand for the second seed's."""

    def sow(results: dict[str, Any]) -> None:
        row, better = rows(results, "textcnn/int8", "cut3/int8")[::-1]
        files = {"13": {"path": row["path"]}, "14": {"path": "students/textcnn/seeds/14/int8"}}
        files = {seed: file | {"temperature": better["temperature"]} for seed, file in files.items()}
        row["seeds"] = {"files": files, "ships": 14}

    home = edited(invented, tmp_path, sow)
    for logits in ("benchmark/logits", "benchmark/val/logits"):
        shutil.copy(home / logits / "cut3-int8.npz", home / logits / "textcnn-int8-seed-14.npz")
    found = choose(home, Limits(max_mb=1.6))
    assert found.choice is not None and found.choice.key == "textcnn/int8"
    assert found.path == home / "students/textcnn/seeds/14/int8"
    (source,) = (candidate for candidate in found.candidates if candidate.key == "cut3/int8")
    assert (found.choice.quality, found.choice.retention) == (source.quality, source.retention)
    (row,) = rows(json.loads((home / "benchmark/results.json").read_text()), "cut3/int8")
    assert found.test["score"]["value"] == row["metrics"]["test"]["accuracy"]["value"]
    assert found.test["retention"]["value"] == row["retention"]["value"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--min-retention", "98"), "min_retention: input should be less than or equal to 1, got 98.0"),
        (("--max-mb", "-1"), "max_mb: input should be greater than or equal to 0, got -1.0"),
        (("--percentile", "p95"), "percentile is that of max_latency_ms, which is not set"),
    ],
)
def test_limits_that_make_no_sense(
    invented: Path, flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called("choose", str(invented), *flags) == 2
    assert message in capsys.readouterr().err


def test_what_was_not_timed_keeps_no_limit_of_speed(invented: Path, tmp_path: Path) -> None:
    home = edited(invented, tmp_path, lambda results: [row.update(speed=[]) for row in rows(results, "textcnn/int8")])
    found = choose(home, Limits(max_latency_ms=100.0))
    untimed = next(candidate for candidate in found.candidates if candidate.key == "textcnn/int8")
    assert [miss.got for miss in misses(untimed, found.limits)] == [None]
    assert found.remarks == ["textcnn/int8 was not timed: it keeps no limit of speed"]
    assert not misses(untimed, Limits(max_mb=2.0)) and choose(home, Limits(max_mb=2.0)).remarks == []


def test_without_answers_on_validation_there_is_nothing_to_choose_by(invented: Path, tmp_path: Path) -> None:
    home = edited(invented, tmp_path, lambda results: None)
    (home / "benchmark/val/logits/cut3-int8.npz").unlink()
    found = choose(home)
    assert "cut3/int8" not in {candidate.key for candidate in found.candidates}
    assert found.remarks == ["cut3/int8 was left out: its answers on validation are not stored"]
    shutil.rmtree(home / "benchmark/val")
    with pytest.raises(ArtifactError, match="holds no answers on validation, by which to choose"):
        choose(home)
    (home / "benchmark/results.json").unlink()
    with pytest.raises(ArtifactError, match=r"has no results\.json"):
        choose(home)


def test_a_teacher_that_is_no_model_is_the_measure_and_no_candidate(invented: Path, tmp_path: Path) -> None:
    def appoint(results: dict[str, Any]) -> None:
        results["models"] = [model for model in results["models"] if model["variant"] != "torch"]
        rows(results, "teacher/fp32")[0].update(variant="table", path=None, bytes=None, speed=[])

    home = edited(invented, tmp_path, appoint)
    logits = home / "benchmark/val/logits"
    (logits / "teacher-fp32.npz").rename(logits / "teacher-table.npz")
    one, other = (choose(directory, Limits(max_mb=2.0)) for directory in (invented, home))
    assert "teacher/table" not in {candidate.key for candidate in other.candidates}
    assert one.choice == other.choice  # what is kept of the teacher's included
    (logits / "teacher-table.npz").unlink()
    found = choose(home, Limits(max_mb=2.0))
    assert found.choice is not None and found.choice.retention is None
    with pytest.raises(ArtifactError, match="no teacher's answers on validation, which min_retention is a share of"):
        choose(home, Limits(max_mb=2.0, min_retention=0.9))


def test_labels_of_the_teachers_are_said_to_be_that(invented: Path, tmp_path: Path) -> None:
    home = edited(
        invented, tmp_path, lambda results: results["data"].update(labels_of_the_teacher={"train": 9, "val": 9})
    )
    assert choose(home).remarks == ["the labels of validation are the teacher's own: what is kept there is agreement "
                                    "with it"]  # fmt: skip


def one(key: str, quality: float, size: int | None, ms: float) -> Candidate:
    return Candidate(key, Estimate(quality, 0.1, 0.9, 50), Estimate(quality, 0.5, 1.1, 50), size, {"p50": ms}, 100.0)


def test_of_equals_the_smallest_is_chosen_then_the_fastest() -> None:
    equals = [one("big", 0.8, 9, 1.0), one("slow", 0.8, 5, 2.0), one("right", 0.8, 5, 1.0), one("worse", 0.7, 1, 0.1)]
    chosen = best(equals, Limits())
    assert chosen is not None and chosen.key == "right"
    assert best([], Limits()) is None and best(equals, Limits(max_latency_ms=0.01)) is None


def test_the_nearest_misses_its_worst_limit_by_the_smallest_share() -> None:
    limits = Limits(max_mb=1.0, min_retention=0.9)
    tight = [one("tiny", 0.45, 10**5, 1.0), one("close", 0.81, 1_050_000, 1.0), one("huge", 0.95, 10**8, 1.0)]
    assert [candidate.key for candidate in nearest(tight, limits)] == ["close", "tiny", "huge"]
    (size, kept) = misses(tight[1], limits)
    assert (size.limit, size.to_dict()["by"], kept.limit) == ("max_mb", pytest.approx(0.05), "min_retention")
    assert kept.to_dict() == {"limit": "min_retention", "wanted": 0.9, "got": 0.81, "by": pytest.approx(0.09)}
    unknown = replace(tight[0], bytes=None)
    assert nearest([unknown, tight[2]], limits)[-1] is unknown and misses(unknown, limits)[0].got is None


def test_a_candidate_is_what_its_json_says() -> None:
    for candidate in (one("a/int8", 0.8, 5, 1.0), replace(one("b/fp32", 0.5, None, 2.0), retention=None, rate=None)):
        assert candidate_from(json.loads(json.dumps(candidate.to_dict()))) == candidate
