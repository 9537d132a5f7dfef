"""What a search may conclude: how sure a difference is, in numbers and in words."""

from __future__ import annotations

import tomllib
from typing import Any

import numpy as np
import pytest

from understudy.metrics import Estimate, paired_difference
from understudy.training.verdict import conclude, difference, snippet, surely_positive

LABELS = np.array([0, 1] * 100)
RANDOM = np.random.default_rng(3)


def logits(strength: float, noise: float) -> Any:
    """Logits that know the label as well as `strength` says."""
    values = RANDOM.normal(scale=noise, size=(len(LABELS), 2))
    values[np.arange(len(LABELS)), LABELS] += strength
    return values.astype(np.float32)


def test_a_difference_is_positive_where_the_best_is_better() -> None:
    good, bad = logits(3, 1), logits(0.5, 1)
    for objective in ("nll", "accuracy", "macro_f1"):
        assert difference(LABELS, bad, good, objective).low > 0
        assert difference(LABELS, good, bad, objective).high < 0
        same = difference(LABELS, good, good, objective)
        assert (same.value, same.low, same.high, same.n) == (0, 0, 0, 200)
        assert not surely_positive(same, 1)
    found = difference(LABELS, bad, good, "accuracy")
    assert found == paired_difference(LABELS, bad.argmax(axis=1), good.argmax(axis=1), "accuracy")


def test_the_interval_of_a_difference_of_nll_holds_it_95_times_in_100() -> None:
    inside = 0
    for _ in range(400):
        gap = difference(LABELS, logits(1, 1), logits(1, 1), "nll")
        inside += gap.low < 0 < gap.high
    assert inside == pytest.approx(380, abs=15)


def test_many_comparisons_ask_for_more() -> None:
    gap = Estimate(0.03, 0.01, 0.05, 100)
    assert surely_positive(gap, 1)
    assert surely_positive(gap, 10)
    assert not surely_positive(gap, 100)


GAPS = {3: Estimate(0.1, 0.0, 0.2, 50), 7: Estimate(0.2, 0.1, 0.3, 50)}


@pytest.mark.parametrize(
    ("gaps", "same", "own", "words"),
    [
        ({}, [], None, "Trial 5 is the only one that was completed here; there is nothing to compare it with."),
        (
            GAPS, [], 3,
            "Trial 5 is better than the 2 other complete trials on the same 50 rows (95 %, corrected for 2 "
            "comparisons). It was chosen as the best of them, so that its own value is somewhat too good.",
        ),
        (
            GAPS, [3], 7,
            "Trial 5 cannot be told apart from 1 of 2 other complete trials (3) on the same 50 rows (95 %, corrected "
            "for 2 comparisons). Another seed would add to that noise.",
        ),
        (
            GAPS, [3, 7], 7,
            "Trial 5 cannot be told apart from 2 of 2 other complete trials (3, 7) on the same 50 rows (95 %, "
            "corrected for 2 comparisons). Another seed would add to that noise. The recipe's own settings (trial 7) "
            "are among them: nothing surely better was found.",
        ),
    ],
)  # fmt: skip
def test_the_conclusion(gaps: dict[int, Estimate], same: list[int], own: int | None, words: str) -> None:
    assert conclude(5, gaps, same, own) == words


def test_many_trials_are_not_all_named() -> None:
    gaps = dict.fromkeys(range(12), Estimate(0, -1, 1, 9))
    assert "(0, 1, 2, 3, 4, 5, 6, 7 and 4 more)" in conclude(20, gaps, list(gaps), None)


def test_the_snippet_is_toml() -> None:
    params = {"rate": 1e-5, "epochs": 3, "layers": [0, 2], "schedule": "linear", "trim_vocabulary": True}
    objective = {"name": "nll", "value": 0.5, "judged_on": "the validation split"}
    text = snippet({"student": "small", "trial": 4, "objective": objective, "params": params})
    assert tomllib.loads(text) == params
    assert text.startswith("# trial 4: nll 0.5000 on the validation split; for the [[students]] table named small\n")
