"""What the answers of a benchmark show, over several seeds and hypotheses: added to the rows of results.json.

A model with several seeds has its further files under the key NAME/VARIANT/seed-N; the row is that of the first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np

from .answers import Answers, decision_from, model_key, replicates, seed_key, shipped
from .data.task import Kind, Labels, Split, Task
from .entries import Entry
from .estimates import percentile
from .kinds import OF_TEXTS, TWINS
from .metrics import mcnemar, paired_difference, task_score
from .significance import differences, holm, lower_bound, over_seeds, score_bound, two_sided

AGAINST_TEACHER, AGAINST_WORDS, WORTH = (
    "students against the teacher",
    "students against the bag of words",
    "students against their twins",
)
_LAST = ("torchscript", "exported", "torch-fp16", "int8-dynamic")

Row = dict[str, Any]


def shipping_rank(row: Mapping[str, Any]) -> tuple[bool, bool, float]:
    """INT8 first; last what needs torch, and where other texts move an answer; the smaller the better."""
    return row["variant"] != "int8", row["variant"] in _LAST, row["bytes"] or float("inf")


def by_seed(model: str, answers: Mapping[str, Answers], first: int) -> dict[int, Answers]:
    """The answers of a model for each of its seeds, the first one's first."""
    prefix = seed_key(model, 0)[:-1]
    further = {int(key.removeprefix(prefix)): answer for key, answer in answers.items() if key.startswith(prefix)}
    return {first: answers[model], **dict(sorted(further.items()))}


def seed_metrics(runs: Mapping[int, Answers], truth: Labels, resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """Each metric by seed, its mean, its standard deviation, and the mean's 95 % interval over seeds and texts."""
    values = {number: answer.values(truth) for number, answer in runs.items()}
    drawn = replicates(list(runs.values()), truth, resamples, seed)
    found = {}
    for name, columns in drawn.items():
        one = {str(number): scores[name] for number, scores in values.items()}
        mean, highest = fmean(one.values()), math.inf if name in ("nll", "brier") else 1.0
        interval = percentile(mean, np.clip(over_seeds(columns, seed), 0.0, highest), len(truth))
        figures = {"mean": mean, "std": stdev(one.values()), "ci95": [interval.low, interval.high], "n": len(truth)}
        found[name] = {"values": one, **figures}
    return found


def chosen_seed(runs: Mapping[int, Answers], truth: Labels, metric: str) -> tuple[int, dict[str, float]]:
    """The seed whose file is best on validation, ties by NLL and then the earlier one; and what each scores there."""
    found = {number: answer.values(truth) for number, answer in runs.items()}
    best = min(found, key=lambda number: (-found[number][metric], found[number]["nll"], list(found).index(number)))
    return best, {str(number): scores[metric] for number, scores in found.items()}


def add_seeds(
    rows: Sequence[Row],
    files: Mapping[str, Row],
    answers: Mapping[str, Answers],
    on_val: Mapping[str, Answers],
    truths: tuple[Labels, Labels],
    metric: str,
    resamples: int,
    seed: int,
) -> None:
    """Add to the row of each model with several seeds what they score together, and which of its files ships.

    `files` has each file's path and decision, by key; `truths` the labels of validation, which chooses, and of test.
    """
    val, test = truths
    for row in rows:
        key = model_key(row)
        runs = by_seed(key, answers, seed)
        if len(runs) < 2:
            continue
        ships, values = chosen_seed(by_seed(key, on_val, seed), val, metric)
        row["seeds"] = {
            "files": {str(number): files[key if number == seed else seed_key(key, number)] for number in runs},
            "metrics": seed_metrics(runs, test, resamples, seed),
            "ships": ships, "validation": values,
        }  # fmt: skip


def add_validation(
    rows: Sequence[Row],
    logits: Mapping[str, np.ndarray[Any, Any]],
    truth: Labels,
    drawn: tuple[str, int, int],
    kind: Kind,
) -> None:
    """Add to each row the task metric, on validation, of its file that ships, if that one's `logits` there are known.

    Whatever names a best student goes by it. `drawn`: metric, bootstrap resamples, seed.
    """
    for row in rows:
        key, file = shipped(row)
        if key in logits:
            answers = Answers(logits[key], decision_from(file, kind))
            row["validation"] = task_score(truth, answers.labels, *drawn).to_dict()


def conclude(
    comparisons: Sequence[Row],
    rows: Sequence[Row],
    answers: Mapping[str, Answers],
    truth: Labels,
    metric: str,
    resamples: int,
    seed: int,
    margin: float = 0.0,
) -> None:
    """Add to the comparisons what they show over seeds, by the margin (in points; 0: none) and in their families.

    over_seeds        the difference where both sides, or one of a single seed, have several, and its p-value
    non_inferiority   of a student against the teacher: the one-sided 95 % bound and whether it lies above −margin
    holm              of the members of a family: the p-value, and that after Holm's adjustment
    """
    teacher = {model_key(row) for row in rows if row["role"] == "teacher"}
    students = {model_key(row) for row in rows if row["role"] == "student"}
    drawn: dict[int, np.ndarray[Any, Any]] = {}
    for number, pair in enumerate(comparisons):
        one, other = (by_seed(pair[side], answers, seed) for side in ("first", "second"))
        common = _common(one, other)
        firsts = [one.get(s, one[seed]).labels for s in common]
        seconds = [other.get(s, other[seed]).labels for s in (common if len(other) > 1 else [seed])]
        found, columns = differences(truth, firsts, seconds, metric, resamples, seed)
        drawn[number] = over_seeds(columns, seed)
        if len(common) > 1:
            estimate = percentile(float(found.mean()), drawn[number], len(truth))
            p = two_sided(drawn[number])
            pair["over_seeds"] = {"seeds": common, "difference": estimate.to_dict(), "p": p}
        if margin and pair["first"] in students and pair["second"] in teacher:
            pair["non_inferiority"] = _non_inferiority(drawn[number], firsts, seconds[0], truth, metric, margin)
    for family, members in families(comparisons, rows).items():
        tests = [_test(comparisons[number], drawn[number], metric) for number in members]
        for number, (test, p), adjusted in zip(members, tests, holm([p for _, p in tests]), strict=True):
            comparisons[number]["holm"] = {
                "family": family, "of": len(members), "test": test, "p": p, "adjusted": adjusted
            }  # fmt: skip


def _common(one: Mapping[int, Answers], other: Mapping[int, Answers]) -> list[int]:
    """The seeds of both; where one has a single seed, those of the other."""
    if len(one) > 1 and len(other) > 1:
        return [seed for seed in one if seed in other]
    return list(one if len(one) > 1 else other)


def families(comparisons: Sequence[Row], rows: Sequence[Row]) -> dict[str, list[int]]:
    """Which comparisons answer one question together, by number: of each student, the file that ships.

    A student is held against its twins FP32 against FP32, where that was measured.
    """
    pairs = {(pair["first"], pair["second"]): number for number, pair in enumerate(comparisons)}
    teacher = next((model_key(row) for row in rows if row["role"] == "teacher" and row["metrics"]), "")
    found: dict[str, list[int]] = {AGAINST_TEACHER: [], AGAINST_WORDS: [], WORTH: []}
    students = [row for row in rows if row["role"] == "student"]
    for name in dict.fromkeys(row["name"] for row in students):
        files = [row for row in students if row["name"] == name]
        ships = model_key(min(files, key=shipping_rank))
        full = next((model_key(row) for row in files if row["variant"] == "fp32"), ships)
        asked = {AGAINST_TEACHER: [(ships, teacher)], AGAINST_WORDS: [(ships, "tfidf-lr/sklearn")]}
        asked[WORTH] = [(full, f"{name}-{twin}/fp32") for twin in TWINS]
        for family, keys in asked.items():
            found[family] += [pairs[key] for key in keys if key in pairs]
    return {family: members for family, members in found.items() if members}


def compared(
    entries: Sequence[Entry],
    answers: Mapping[str, Answers],
    test: Split,
    task: Task,
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Each student against the teacher, its FP32 source, its twin, the bag of words and others of its shape, paired.

    The teacher is its first file, against which its others are held, too.
    """
    teachers = [key for key in answers if key.startswith("teacher/")]
    pairs = [(other, teachers[0]) for other in teachers[1:]]
    students = [entry for entry in entries if entry.role == "student"]
    shapes = [(entry.variant, entry.artifact.details["kind"], entry.artifact.details["params"]) for entry in students]
    for index, entry in enumerate(students):
        name = entry.key
        pairs += [(name, teacher) for teacher in teachers[:1]]
        pairs += [(name, f"{entry.name}-{twin}/fp32") for twin in TWINS]
        if entry.variant != "fp32":
            pairs.append((name, f"{entry.name}/fp32"))
        pairs.append((name, "tfidf-lr/sklearn"))
        alike = (other for other in range(index + 1, len(students)) if shapes[other] == shapes[index])
        pairs += [(name, students[other].key) for other in alike]  # they differ by how they learnt
    return [
        compare(first, second, answers, test, task, resamples, seed)
        for first, second in pairs
        if first in answers and second in answers
    ]


def compare(
    first: str, second: str, answers: Mapping[str, Answers], test: Split, task: Task, resamples: int, seed: int
) -> dict[str, Any]:
    """Paired difference of the task metric (first − second) and the exact McNemar test."""
    one, two = answers[first].labels, answers[second].labels
    difference = paired_difference(test.labels, two, one, task.metric, resamples, seed)
    test_result = mcnemar(test.labels, one, two)
    return {
        "first": first, "second": second, "difference": difference.to_dict(),
        "mcnemar": {
            "only_first": test_result.only_first, "only_second": test_result.only_second, "p": test_result.p
        },
    }  # fmt: skip


def _test(pair: Row, drawn: np.ndarray[Any, Any], metric: str) -> tuple[str, float]:
    """The test of a difference in the task metric: over seeds, or McNemar's where that is about the metric."""
    if "over_seeds" in pair:
        return "bootstrap over seeds and texts", pair["over_seeds"]["p"]
    if metric in OF_TEXTS:
        return "mcnemar", pair["mcnemar"]["p"]
    return "bootstrap over texts", two_sided(drawn)


def _non_inferiority(
    drawn: np.ndarray[Any, Any], alone: Sequence[Labels], teacher: Labels, truth: Labels, metric: str, margin: float
) -> dict[str, Any]:
    """Of a share of the texts by a score test; of several seeds on their mean counts, unless the bootstrap is lower.

    A bootstrap alone is too sure of itself where few answers differ; of other metrics there is nothing else.
    """
    bounds = [] if metric in OF_TEXTS and len(alone) == 1 else [lower_bound(drawn)]
    if metric in OF_TEXTS:
        tests = [mcnemar(truth, chosen, teacher) for chosen in alone]
        counts = fmean(test.only_first for test in tests), fmean(test.only_second for test in tests)
        bounds.append(score_bound(*counts, len(truth)))
    return {"margin": margin / 100, "bound": min(bounds), "shown": min(bounds) > -margin / 100}
