"""What a benchmark's answers show over seeds, by a margin and in families: the parts of results.json."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from understudy.answers import Answers, model_key, seed_key
from understudy.benchmarking import compare
from understudy.conclusions import (
    AGAINST_TEACHER,
    AGAINST_WORDS,
    WORTH,
    add_seeds,
    add_validation,
    by_seed,
    chosen_seed,
    conclude,
    families,
    seed_metrics,
)
from understudy.data.task import Split, Task
from understudy.decision import Decision
from understudy.reporting.findings import findings
from understudy.reporting.proofs import seeds_table, worth_table
from understudy.reporting.tables import comparison_table, results_table
from understudy.reporting.terminal import summary_table
from understudy.reporting.view import prepared

N, SEED = 500, 13
GENERATOR = np.random.default_rng(1)
TRUTH = GENERATOR.integers(2, size=N)
TASK = Task("mood", ("bad", "good"), "accuracy")
TEST = Split("test", [str(row) for row in range(N)], [""] * N, TRUTH)
# role, share right
MODELS = {
    "teacher/fp32": ("teacher", 0.92), "a/fp32": ("student", 0.91), "a/int8": ("student", 0.90),
    "b/fp32": ("student", 0.80), "b/int8": ("student", 0.79), "a-no-teacher/fp32": ("control", 0.82),
    "a-hard-label/fp32": ("control", 0.90), "tfidf-lr/sklearn": ("control", 0.84),
}  # fmt: skip


def answers(right: float, noise: int) -> Answers:
    """Those of a model that is right about so often, mostly on the same texts as the others."""
    hard = np.random.default_rng(7).random(N) + np.random.default_rng(noise).normal(0, 0.02, N)
    chosen = np.where(hard < right, TRUTH, 1 - TRUTH)
    return Answers((2 * np.eye(2)[chosen]).astype(np.float32), Decision("single", 1.0))


def row(key: str) -> dict[str, Any]:
    name, variant = key.split("/")
    scores = ANSWERS[key].scores(TRUTH, 100, SEED)
    return {
        "name": name, "role": MODELS[key][0], "variant": variant, "bytes": 2 if variant == "int8" else 8,
        "path": f"somewhere/{key}", "temperature": 1.0,
        "metrics": {"test": {name: one.to_dict() for name, one in scores.items()}},
    }  # fmt: skip


ANSWERS = {key: answers(right, number) for number, (key, (_, right)) in enumerate(MODELS.items())}
FURTHER = {
    seed_key(key, SEED + k): answers(right + 0.01 * k, 50 * k + number)
    for number, (key, (_, right)) in enumerate(MODELS.items())
    for k in (1, 2)
    if key.startswith("a")
}
PAIRS = [
    ("a/fp32", "teacher/fp32"), ("a/int8", "teacher/fp32"), ("b/int8", "teacher/fp32"), ("a/int8", "a/fp32"),
    ("a/int8", "tfidf-lr/sklearn"), ("b/int8", "tfidf-lr/sklearn"), ("a/fp32", "a-no-teacher/fp32"),
    ("a/int8", "a-no-teacher/fp32"), ("a/fp32", "a-hard-label/fp32"),
]  # fmt: skip


def concluded(
    known: dict[str, Answers], margin: float = 0.0, metric: str = "accuracy"
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    task = Task("mood", ("bad", "good"), metric)
    pairs = [compare(first, second, known, TEST, task, 400, SEED) for first, second in PAIRS]
    rows = [row(key) for key in MODELS]
    files = {key: {"path": f"somewhere/{key}", "temperature": 1.0} for key in known}
    add_seeds(rows, files, known, known, (TRUTH, TRUTH), metric, 400, SEED)
    conclude(pairs, rows, known, TRUTH, metric, 400, SEED, margin)
    return pairs, rows


def by_keys(pairs: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(pair["first"], pair["second"]): pair for pair in pairs}


def test_a_family_holds_the_file_that_ships_of_each_student() -> None:
    pairs = [{"first": first, "second": second} for first, second in PAIRS]
    found = families(pairs, [row(key) for key in MODELS])
    assert {name: [PAIRS[number] for number in members] for name, members in found.items()} == {
        AGAINST_TEACHER: [("a/int8", "teacher/fp32"), ("b/int8", "teacher/fp32")],
        AGAINST_WORDS: [("a/int8", "tfidf-lr/sklearn"), ("b/int8", "tfidf-lr/sklearn")],
        WORTH: [("a/fp32", "a-no-teacher/fp32"), ("a/fp32", "a-hard-label/fp32")],
    }


def test_one_seed_has_mcnemars_p_raw_and_adjusted_and_nothing_over_seeds() -> None:
    pairs, rows = concluded(ANSWERS)
    assert not any("over_seeds" in pair or "non_inferiority" in pair for pair in pairs)
    assert not any("seeds" in model for model in rows)
    found = by_keys(pairs)
    for family in (("a/int8", "b/int8"), ("b/int8", "a/int8")):
        one, other = (found[key, "teacher/fp32"]["holm"] for key in family)
        assert one["test"] == "mcnemar" and one["p"] == found[family[0], "teacher/fp32"]["mcnemar"]["p"]
        assert one["adjusted"] == pytest.approx(min(1, max(2 * min(one["p"], other["p"]), one["p"])))
    assert "holm" not in found["a/fp32", "teacher/fp32"] and "holm" not in found["a/int8", "a/fp32"]


def test_a_metric_that_is_no_share_of_the_texts_is_tested_by_the_bootstrap() -> None:
    pairs, _ = concluded(ANSWERS, metric="macro_f1")
    holm = by_keys(pairs)["b/int8", "teacher/fp32"]["holm"]
    assert holm["test"] == "bootstrap over texts" and holm["p"] == 2 / 401


def test_several_seeds_are_compared_over_seeds_and_texts() -> None:
    known = ANSWERS | FURTHER
    pairs, rows = concluded(known, margin=5.0)
    found, models = by_keys(pairs), {f"{model['name']}/{model['variant']}": model for model in rows}
    accuracy = {key: float(np.mean(one.labels == TRUTH)) for key, one in known.items()}
    keys = ["a/int8", "a/int8/seed-14", "a/int8/seed-15"]
    seeds = models["a/int8"]["seeds"]
    assert seeds["metrics"]["accuracy"]["values"] == pytest.approx(
        dict(zip(("13", "14", "15"), [accuracy[key] for key in keys], strict=True))
    )
    assert seeds["metrics"]["accuracy"]["mean"] == pytest.approx(np.mean([accuracy[key] for key in keys]))
    assert seeds["metrics"]["accuracy"]["std"] == pytest.approx(np.std([accuracy[key] for key in keys], ddof=1))
    assert all(0 <= bound <= 1 for bound in seeds["metrics"]["ece"]["ci95"])
    assert {"accuracy", "macro_f1", "weighted_f1", "macro_recall", "ece", "brier", "nll"} == set(seeds["metrics"])
    assert seeds["ships"] == 15 and seeds["files"]["15"]["path"] == "somewhere/a/int8/seed-15"
    assert "seeds" not in models["teacher/fp32"] and "seeds" not in models["b/int8"]
    over = found["a/int8", "teacher/fp32"]["over_seeds"]
    assert over["seeds"] == [13, 14, 15]
    assert over["difference"]["value"] == pytest.approx(np.mean([accuracy[k] for k in keys]) - accuracy["teacher/fp32"])
    twin = found["a/fp32", "a-no-teacher/fp32"]
    assert twin["over_seeds"]["seeds"] == [13, 14, 15] and twin["holm"]["p"] == twin["over_seeds"]["p"] == 2 / 401
    assert "over_seeds" not in found["b/int8", "teacher/fp32"]
    verdicts = {key: pair["non_inferiority"]["shown"] for key, pair in found.items() if "non_inferiority" in pair}
    assert verdicts == {(key, "teacher/fp32"): key != "b/int8" for key in ("a/fp32", "a/int8", "b/int8")}


def test_the_row_of_the_first_seed_is_as_if_it_were_alone() -> None:
    alone, several = concluded(ANSWERS)[1], concluded(ANSWERS | FURTHER)[1]
    assert [{name: value for name, value in model.items() if name != "seeds"} for model in several] == alone


def test_a_seed_that_was_refused_is_left_out() -> None:
    known = {key: one for key, one in (ANSWERS | FURTHER).items() if key != "a/int8/seed-14"}
    pairs, rows = concluded(known)
    assert by_keys(pairs)["a/int8", "a/fp32"]["over_seeds"]["seeds"] == [13, 15]
    assert list(rows[2]["seeds"]["files"]) == ["13", "15"]


def test_the_file_to_ship_is_the_best_on_validation_then_the_earlier() -> None:
    runs = by_seed("a/int8", ANSWERS | FURTHER, SEED)
    assert list(runs) == [13, 14, 15]
    assert chosen_seed({1: runs[13], 2: runs[15]}, TRUTH, "accuracy")[0] == 2
    assert chosen_seed({2: runs[15], 1: runs[15]}, TRUTH, "accuracy")[0] == 2


def test_a_row_has_what_its_file_that_ships_scores_on_validation() -> None:
    known = ANSWERS | FURTHER
    _, rows = concluded(known)
    logits = {key: one.logits for key, one in known.items() if not key.startswith("b/")}
    add_validation(rows, logits, TRUTH, ("accuracy", 400, SEED), "single")
    found = {model_key(row): row.get("validation") for row in rows}
    assert rows[2]["seeds"]["ships"] == 15
    for key, shipped in (("a/int8", "a/int8/seed-15"), ("teacher/fp32", "teacher/fp32")):
        assert found[key] is not None and found[key]["n"] == N
        assert found[key]["value"] == np.mean(known[shipped].labels == TRUTH)
        assert found[key]["ci95"][0] < found[key]["value"] < found[key]["ci95"][1]
    assert found["b/int8"] is None


def test_equal_seeds_have_no_spread() -> None:
    one = ANSWERS["a/int8"]
    found = seed_metrics({1: one, 2: one, 3: one}, TRUTH, 200, SEED)
    assert all(figures["std"] == 0 for figures in found.values())


def results(known: dict[str, Answers], margin: float) -> dict[str, Any]:
    pairs, rows = concluded(known, margin)
    return {
        "task": "mood", "task_metric": "accuracy", "labels": ["bad", "good"], "seed": SEED, "models": rows,
        "comparisons": pairs,
    }  # fmt: skip


def test_the_report_says_what_was_concluded() -> None:
    found = results(ANSWERS | FURTHER, 5.0)
    said = [sentence.replace("\u00a0", " ") for sentence in findings(found)]
    assert sum("was trained from 3 seeds (13, 14, 15)" in sentence for sentence in said) == 1
    assert any("The file to ship is that of seed 15, somewhere/a/int8/seed-15" in sentence for sentence in said)
    assert any(s.startswith("a/int8 is not worse than the teacher by more than 5 points") for s in said)
    assert any(s.startswith("b/int8 was not shown to be not worse than the teacher by more than 5") for s in said)
    assert any(s.startswith("Learning from the teacher helped a/fp32") and "Holm" in s for s in said)
    assert any(s.startswith("Soft labels in the place of the teacher's hard ones") for s in said)
    assert any(AGAINST_TEACHER in s and AGAINST_WORDS in s and WORTH in s for s in said)
    shown = prepared(found)
    worth = [[cell.text for cell in line] for line in worth_table(shown).rows]
    assert [line[:2] + line[-1:] for line in worth[:1]] == [["a/fp32", "no teacher", "worth it"]]
    assert worth[1][1] == "the teacher's hard labels"
    assert [line[0].text for line in seeds_table(shown).rows][:2] == ["a/fp32", "a/int8"]
    assert any("±" in cell.text for line in results_table(shown).rows for cell in line)
    assert {"Over seeds", "p, Holm"} <= {cell.text for cell in comparison_table(shown).columns}
    assert "±" in str(summary_table(found).caption)


def test_without_seeds_margin_and_families_nothing_of_it_is_shown() -> None:
    plain = results(ANSWERS, 0.0)
    for pair in plain["comparisons"]:
        pair.pop("holm", None)
    shown = prepared(plain)
    assert not seeds_table(shown).rows
    assert not {"Over seeds", "p, Holm"} & {cell.text for cell in comparison_table(shown).columns}
    assert not any("±" in cell.text for line in results_table(shown).rows for cell in line)
    assert not any("Holm" in sentence or "margin" in sentence or "seeds" in sentence for sentence in findings(plain))
