"""The verdict for an upgrade: it follows the figures, admits what few texts cannot show, and names what changes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.answers import Answers
from understudy.benchmarking import compare
from understudy.data.task import Labels, Split, Task
from understudy.decision import Decision
from understudy.errors import InputError
from understudy.estimates import paired_shares
from understudy.metrics import paired_difference, paired_lower_bound
from understudy.upgrading import check_changes, fails, upgrade, write_changes

NAMES = ("bad", "good", "so-so")


def answers_of(labels: Labels) -> Answers:
    return Answers(4 * np.eye(3, dtype=np.float32)[labels], Decision())


def split_of(gold: Labels) -> Split:
    ids = [f"file:{row}" for row in range(len(gold))]
    return Split("file", ids, [f"=text {row}" for row in range(len(gold))], gold)


def verdict(fixed: int, broken: int, n: int, margin: float | None = None, metric: str = "accuracy") -> dict[str, Any]:
    """Of two models on n texts: so many that only the second gets right, and only the first."""
    gold = np.arange(n) % 2
    one, two = gold.copy(), gold.copy()
    one[:fixed] = 1 - gold[:fixed]
    two[fixed : fixed + broken] = 1 - gold[fixed : fixed + broken]
    answers, split, task = {"a": answers_of(one), "b": answers_of(two)}, split_of(gold), Task("tiny", NAMES, metric)
    pair = compare("a", "b", answers, split, task, 400, 0)
    return upgrade(pair, answers, split, task, margin, 400, 0)


@pytest.mark.parametrize(
    ("fixed", "broken", "margin", "said", "stops"),
    [
        (40, 10, None, "b is better than a: accuracy +3.00 points", False),
        (10, 40, None, "b is worse than a: accuracy −3.00 points", True),
        (20, 20, None, "b is not distinguishable from a: accuracy +0.00 points", False),
        (20, 20, 0.02, "b is not worse than a by more than 2 points: ", False),
        (20, 20, 0.005, "b is not distinguishable from a, and a loss of more than 0.5 points is not ruled out: ", True),
        (10, 40, 0.05, "b is worse than a, but not by more than 5 points: ", False),
        (10, 40, 0.03, "b is worse than a, and a loss of more than 3 points is not ruled out: ", True),
        (10, 40, 0.01, "b is worse than a by more than 1 point: ", True),
        (40, 10, 0.01, "b is better than a: ", False),
    ],
)
@pytest.mark.parametrize("metric", ["accuracy", "macro_recall"])
def test_the_verdict_follows_the_interval_and_the_margin(
    fixed: int, broken: int, margin: float | None, said: str, stops: bool, metric: str
) -> None:
    found = verdict(fixed, broken, 1000, margin, metric)
    assert found["difference"]["ci95"][0] < found["lower95"] < found["difference"]["value"]
    if metric == "accuracy":
        assert found["said"][0].startswith(said)
        assert ("one-sided 95 % bound" in found["said"][0]) == (margin is not None)
    assert found["said"][0].startswith(said.split(":")[0]) and fails(found) == stops
    assert f"{fixed + broken} of 1,000 answers change: {fixed} fixed, {broken} broken, 0 wrong" in found["said"][1]


def test_few_texts_prove_nothing_although_no_answer_changes() -> None:
    assert verdict(0, 0, 50, 0.01)["not_worse_by_margin"] is False  # a bootstrap would have nothing to draw
    assert verdict(0, 0, 5000, 0.01)["not_worse_by_margin"] is True
    assert verdict(0, 0, 50)["said"][1] == "No answer changes."
    assert verdict(5, 0, 60)["verdict"] == "not distinguishable"  # as the exact test, p = 0.06


def test_the_number_of_texts_that_would_settle_it_does() -> None:
    found = verdict(20, 20, 1000, 0.01)
    said = found["said"][1]
    texts = int(said[said.index("About ") + 6 : said.index(" texts would settle")].replace(",", ""))
    assert texts == 2600
    generator = np.random.default_rng(1)
    drawn = generator.multinomial(texts, [0.02, 0.02, 0.96], 400)
    kept = [paired_shares(int(fixed), int(broken), texts, 0.9)[0] > -0.01 for fixed, broken, _ in drawn]
    assert 0.75 < np.mean(kept) < 0.87


@pytest.mark.parametrize(("gain", "loss", "n"), [(0.05, 0.05, 40), (0.02, 0.01, 200), (0.3, 0.1, 25), (0.0, 0.04, 60)])
def test_the_interval_covers_what_it_says(gain: float, loss: float, n: int) -> None:
    drawn = np.random.default_rng(2).multinomial(n, [gain, loss, 1 - gain - loss], 3000)
    for level in (0.8, 0.95):
        bounds = [paired_shares(int(gained), int(lost), n, level) for gained, lost, _ in drawn]
        covered = np.mean([low <= gain - loss <= high for low, high in bounds])
        assert covered > level - 0.02


def test_the_one_sided_bound_is_that_of_the_same_bootstrap() -> None:
    generator = np.random.default_rng(3)
    gold, one, two = (generator.integers(0, 3, 300) for _ in range(3))
    both = paired_difference(gold, one, two, "macro_f1", 2000, 7)
    assert both.low < paired_lower_bound(gold, one, two, "macro_f1", 2000, 7) < both.value


def test_what_changed_is_counted_by_label_and_written(tmp_path: Path) -> None:
    gold = np.array([0, 0, 1, 1, 2, 2])
    before, after = np.array([0, 1, 1, 0, 1, 2]), np.array([1, 0, 1, 2, 0, 2])  # broken, fixed, –, wrong, wrong, –
    answers, split, task = {"a": answers_of(before), "b": answers_of(after)}, split_of(gold), Task("tiny", NAMES)
    found = upgrade(compare("a", "b", answers, split, task, 100, 0), answers, split, task, None, 100, 0)
    assert (found["changed"], found["fixed"], found["broken"]) == (4, 1, 1)
    assert [(row["fixed"], row["broken"], row["n"]) for row in found["by_label"]] == [(1, 1, 2), (0, 0, 2), (0, 0, 2)]
    write_changes(tmp_path / "changes.csv", task, split, answers["a"], answers["b"])
    with (tmp_path / "changes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["change"], row["gold"], row["before"], row["after"]) for row in rows] == [
        ("file:0", "broken", "bad", "bad", "good"), ("file:1", "fixed", "bad", "good", "bad"),
        ("file:3", "wrong", "good", "bad", "so-so"), ("file:4", "wrong", "so-so", "good", "bad"),
    ]  # fmt: skip
    assert rows[0]["text"] == "'=text 0"  # no spreadsheet runs it
    assert float(rows[0]["before_confidence"]) == pytest.approx(np.exp(4) / (np.exp(4) + 2), abs=1e-6)


def test_of_several_labels_the_whole_set_is_right_or_wrong(tmp_path: Path) -> None:
    gold = np.array([[1, 0], [1, 1], [0, 0]])
    before, after = np.array([[1, 1], [1, 1], [0, 0]]), np.array([[1, 0], [0, 1], [0, 0]])
    decision = Decision("multi")
    answers = {name: Answers((4.0 * of - 2).astype(np.float32), decision) for name, of in (("a", before), ("b", after))}
    split = Split("file", ["file:0", "file:1", "file:2"], ["x", "y", "z"], gold)
    task = Task("tiny", ("arts", "praise"), "subset_accuracy", "multi")
    found = upgrade(compare("a", "b", answers, split, task, 100, 0), answers, split, task, 0.1, 100, 0)
    assert (found["changed"], found["fixed"], found["broken"]) == (2, 1, 1)
    assert [(row["fixed"], row["broken"]) for row in found["by_label"]] == [(0, 1), (1, 0)]
    micro = Task("tiny", ("arts", "praise"), "micro_f1", "multi")
    other = upgrade(compare("a", "b", answers, split, micro, 100, 0), answers, split, micro, 0.1, 100, 0)
    assert other["difference"]["ci95"][0] <= other["lower95"] < 0 < other["difference"]["ci95"][1]
    write_changes(tmp_path / "changes.csv", task, split, answers["a"], answers["b"])
    with (tmp_path / "changes.csv").open(encoding="utf-8", newline="") as file:
        rows = [list(row.values()) for row in csv.DictReader(file)]
    assert rows == [
        ["file:1", "y", "arts|praise", "broken", "arts|praise", "praise"],
        ["file:0", "x", "arts", "fixed", "arts|praise", "arts"],
    ]


def test_a_file_for_the_changes_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("x")
    for name, why in (
        ("there.csv", "exists; choose another name or remove it"),
        ("x.json", "changes are written as CSV"),
        ("no/x.csv", "there is no directory"),
    ):
        with pytest.raises(InputError, match=why):
            check_changes(tmp_path / "data.csv", tmp_path / name)
