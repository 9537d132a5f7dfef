"""A function whose columns are permuted is refused on validation; one that is only weak or lopsided is not."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import answers_kit
from answers_kit import labelled, prepared, split_of
from understudy.answering.ordering import wrong_order
from understudy.data.task import UNLABELED
from understudy.errors import DataError

NAMES = ("a", "b", "c", "d")
Floats = NDArray[np.float32]


def answers(labels: NDArray[np.int64], strength: float, seed: int, classes: int = 4) -> Floats:
    """Logits of a teacher that gives the right label `strength` more than noise has."""
    noise = np.random.default_rng(seed).normal(size=(len(labels), classes))
    right = labels if labels.ndim == 2 else np.eye(classes)[labels]
    return np.asarray(noise + strength * right, dtype=np.float32)


def drawn(seed: int, rows: int = 200, classes: int = 4) -> NDArray[np.int64]:
    random = np.random.default_rng(seed)
    return random.choice(classes, rows, p=random.dirichlet(np.full(classes, 5.0)))


@pytest.mark.parametrize("order", list(permutations(range(4)))[1:], ids=str)
@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_every_permutation_of_a_good_teacher_is_found(order: tuple[int, ...], several: bool) -> None:
    labels = (np.random.default_rng(1).random((300, 4)) < 0.4).astype(np.int64) if several else np.arange(300) % 4
    good = answers(labels, 4.0, 2)
    assert wrong_order(good, labels, NAMES) == ""
    shown = wrong_order(good[:, order], labels, NAMES)
    moved = [name for place, name in zip(order, NAMES, strict=True) if NAMES[place] != name]
    named = [name for name in NAMES if f"label '{name}'" in shown]
    assert named and set(named) <= set(moved)  # a circle of those that are not where they belong


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.0, 2.0), st.floats(-6, 6), st.integers(2, 4))
def test_a_weak_and_lopsided_teacher_is_left_alone(seed: int, strength: float, bias: float, classes: int) -> None:
    """However often it says the first label, and however rare that is."""
    labels = drawn(seed, classes=classes)
    logits = answers(labels, strength, seed, classes) + np.float32([bias, *[0] * (classes - 1)])
    assert wrong_order(logits, labels, NAMES[:classes]) == ""


def test_what_says_nothing_of_the_order() -> None:
    labels = np.arange(200) % 2
    assert wrong_order(np.tile(np.float32([2, 1]), (200, 1)), labels, NAMES[:2]) == ""  # a constant answer
    swapped = answers(labels, 4.0, 3, 2)[:, ::-1]
    assert wrong_order(swapped, labels, NAMES[:2]) != ""
    assert wrong_order(swapped, np.full_like(labels, UNLABELED), NAMES[:2]) == ""
    few = slice(0, 16)  # the sign test of 8 is not below 0.001
    assert wrong_order(swapped[few], labels[few], NAMES[:2]) == ""


FUNCTION = """\
from pathlib import Path

CALLS = Path(__file__).with_name("calls.txt")
GOOD = {"lovely", "great", "superb", "charming", "splendid"}

def columns(texts):
    with CALLS.open("a") as file:
        file.write("".join(text + "\\n" for text in texts))
    found = [bool(set(text.split()) & GOOD) != ("not" in text.split()) for text in texts]
    return [[0.9, 0.1] if good else [0.1, 0.9] for good in found]

def right(texts):
    return [row[::-1] for row in columns(texts)]
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(FUNCTION, encoding="utf-8")
    return prepared(tmp_path, (60, 40, 12, 8))


def test_a_function_with_permuted_columns_is_refused_before_train_is_asked_for(data: Path) -> None:
    with pytest.raises(DataError) as error:
        labelled(data, answers_kit.settings("function", function="mine.py:columns"))
    assert str(error.value) == (
        "mine.py:columns answers in another order than that of the labels (bad, good): of the validation texts with "
        "the label 'bad' 20 get 'good' and 0 get 'bad'; of the validation texts with the label 'good' 20 get 'bad' and "
        "0 get 'good'; return the columns in this order, or a dict of labels for each text"
    )
    asked = set((data.parent / "calls.txt").read_text(encoding="utf-8").splitlines())
    assert asked == set(split_of(data, "val").texts)
    assert not list(data.parent.rglob("val-*.parquet"))
    made = labelled(data, answers_kit.settings("function", function="mine.py:right"))
    assert made.measurements["of_an_interrupted_run"] == 0
