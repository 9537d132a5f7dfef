"""The data that ships: real enough to learn from, hard enough to be worth it."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

import understudy

STARTER = Path(understudy.__file__).parent / "starter"
SETS = {"imperative": ("sentence", 1500), "reviews": ("text", 1000)}


def _rows(name: str) -> list[tuple[str, str]]:
    with (STARTER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [(row[SETS[name][0]], row["label"]) for row in csv.DictReader(file)]


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))


@pytest.mark.parametrize("name", SETS)
def test_enough_distinct_rows_half_and_half(name: str) -> None:
    rows = _rows(name)
    assert len({" ".join(sorted(re.findall(r"\w+", text.lower()))) for text, _ in rows}) >= SETS[name][1]
    shares = [count / len(rows) for count in Counter(label for _, label in rows).values()]
    assert len(shares) == 2
    assert max(shares) < 0.52


@pytest.mark.parametrize("name", SETS)
def test_under_one_percent_near_duplicates(name: str) -> None:
    sets = [_words(text) for text, _ in _rows(name)]
    near = sum(len(one & other) > 0.8 * len(one | other) for index, one in enumerate(sets) for other in sets[:index])
    assert near < 0.01 * len(sets)


@pytest.mark.parametrize("name", SETS)
def test_no_common_word_gives_the_label_away(name: str) -> None:
    rows = _rows(name)
    uses: dict[str, Counter[str]] = {}
    for text, label in rows:
        for word in _words(text):
            uses.setdefault(word, Counter())[label] += 1
    telling = {
        word: dict(labels)
        for word, labels in uses.items()
        if labels.total() > 0.02 * len(rows) and max(labels.values()) > 0.85 * labels.total()
    }
    assert telling == {}


@pytest.mark.parametrize("name", SETS)
def test_a_bag_of_words_learns_something_but_not_all(name: str) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline

    texts, labels = zip(*_rows(name), strict=True)
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
    )
    scores = cross_val_score(model, texts, labels, cv=StratifiedKFold(5, shuffle=True, random_state=0))
    assert 0.70 < scores.mean() < 0.93


@pytest.mark.parametrize("name", SETS)
def test_a_blind_second_labelling_agrees(name: str) -> None:
    rows = _rows(name)
    with (Path(__file__).parent / "blind" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        second = {int(row["row"]): row["label"] for row in csv.DictReader(file)}
    assert len(second) == 200
    assert sum(rows[row][1] == label for row, label in second.items()) >= 190
