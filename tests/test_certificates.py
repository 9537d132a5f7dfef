"""Certificates of cascades: p-values against exact ones, and a simulation of how often a promise is broken."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from understudy.certificates import (
    THRESHOLDS,
    Seen,
    Target,
    betting_p,
    binomial_p,
    described,
    fixed_sequence,
    rows_needed,
    thinned,
)
from understudy.certificates import Tested as Point

Integers = NDArray[np.int64]

DRAWS, ROWS, LEVEL, CONFIDENCE = 1000, 500, 0.05, 0.9
GRID = np.linspace(0.98, 0.5, 17)
CONFIDENCES = np.linspace(0.5, 1, 201)
# The chance that the small model loses and wins, by its confidence. The risk rises with the share that it answers, and
# at the end of `risk` falls again, where the small model is right and the large one is not: it need not be monotone.
LOSES = 0.35 * (1 - CONFIDENCES) + 0.03
WINS: dict[Target, NDArray[np.float64]] = {
    "agreement": np.zeros_like(CONFIDENCES),
    "risk": np.where(CONFIDENCES < 0.55, 0.42, 0.0) + 0.02,
}


def zeros(n: int, ones: int = 0) -> Integers:
    return (np.arange(n) < ones).astype(np.int64)


@pytest.mark.parametrize(
    ("n", "hits", "level"), [(1, 0, 0.3), (50, 0, 0.01), (400, 7, 0.03), (9000, 95, 0.01), (5, 5, 0.4)]
)
def test_the_binomial_p_value_is_the_exact_tail(n: int, hits: int, level: float) -> None:
    assert binomial_p(zeros(n, hits), level) == pytest.approx(binom.cdf(hits, n, level), rel=1e-9)


def test_betting_follows_its_formula() -> None:
    losses, level, confidence = np.array([0, 1, 0, -1, 0, 0, 0, 0]), 0.2, 0.9
    wealth = best = 1.0
    for row, loss in enumerate(losses):
        before = losses[:row]
        means = [before[: i + 1].sum() / (i + 2) for i in range(row)]
        variance = (1 + sum((before[i] - means[i]) ** 2 for i in range(row))) / (row + 1)
        stake = min((2 * np.log(1 / (1 - confidence)) / (len(losses) * variance)) ** 0.5, 0.75 / (1 - level))
        wealth *= 1 + stake * (level - loss)
        best = max(best, wealth)
    assert betting_p(losses, level, confidence) == pytest.approx(1 / best)
    assert betting_p(np.ones(100, dtype=np.int64), level) == 1


def test_a_null_hypothesis_that_is_true_is_rarely_rejected() -> None:
    generator = np.random.default_rng(1)
    for p_value, chances in ((binomial_p, [0, 0.95, 0.05]), (betting_p, [0.04, 0.87, 0.09])):
        drawn = generator.choice([-1, 0, 1], size=(2000, 300), p=chances)  # a mean of exactly 0.05
        rejected = sum(p_value(losses, 0.05, 0.9) <= 0.1 for losses in drawn)
        assert rejected <= binom.ppf(0.999, 2000, 0.1)
        assert sum(p_value(losses, 0.15, 0.9) <= 0.1 for losses in drawn[:200]) > 100  # and a false one often


def draw(target: Target, generator: np.random.Generator) -> Seen:
    places = generator.integers(len(CONFIDENCES), size=ROWS)
    chance = generator.random(ROWS)
    loses, wins = LOSES[places], WINS[target][places]
    losses = (chance < loses).astype(np.int64) - (chance > 1 - wins)
    return Seen(CONFIDENCES[places][None], np.stack([losses, np.zeros_like(losses)]))


def true_risk(target: Target, threshold: float) -> float:
    answered = threshold <= CONFIDENCES
    return float(((LOSES - WINS[target]) * answered).mean())


@pytest.mark.parametrize("target", ["agreement", "risk"])
def test_a_promise_is_broken_no_more_often_than_it_says(target: Target) -> None:
    generator = np.random.default_rng(7)
    allowed = binom.ppf(0.999, DRAWS, 1 - CONFIDENCE)
    risks = {threshold: true_risk(target, threshold) for threshold in GRID.tolist()}
    assert min(risks.values()) < LEVEL < max(risks.values())
    broken = naively = found = 0
    for _ in range(DRAWS):
        seen = draw(target, generator)
        outcome = fixed_sequence(seen, target, LEVEL, CONFIDENCE, GRID)
        if outcome.certified is not None:
            found += 1
            broken += risks[outcome.certified.threshold] >= LEVEL
        looks_good = np.flatnonzero(((seen.confidences[0] >= GRID[:, None]) * seen.losses[0]).mean(axis=1) <= LEVEL)
        naively += len(looks_good) > 0 and risks[GRID[looks_good[-1]]] >= LEVEL
    assert broken <= allowed
    assert found > DRAWS / 2  # it does not hold by promising nothing
    assert naively > 2 * allowed  # the cheapest threshold that looks good enough often is not


def test_members_answer_in_their_order_and_one_threshold_moves_all() -> None:
    seen = Seen(np.array([[0.9, 0.6, 0.2, 0.2], [0.1, 0.9, 0.7, 0.3]]), np.zeros((3, 4), dtype=np.int64))
    assert seen.answering(0.65).tolist() == [0, 1, 1, 2]
    assert seen.answering(0.9).tolist() == [0, 1, 2, 2]  # at least so sure
    answered = [seen.answering(threshold) for threshold in THRESHOLDS]
    assert all((after <= before).all() for before, after in pairwise(answered))
    assert (np.diff(THRESHOLDS) < 0).all() and THRESHOLDS[0] > 1 - 1e-12


def test_the_sequence_stops_at_the_first_that_is_not_rejected() -> None:
    confidences = np.repeat([0.95, 0.85, 0.75, 0.65], 100)
    losses = np.repeat([0, 0, 1, 0], 100) * np.tile([1, 0], 200)  # every second row of the third group
    outcome = fixed_sequence(
        Seen(confidences[None], np.stack([losses, np.zeros_like(losses)])),
        "agreement",
        0.1,
        0.95,
        np.array([0.9, 0.8, 0.7, 0.6]),
    )
    assert outcome.certified is not None and outcome.stopped_at is not None
    assert (outcome.certified.threshold, outcome.certified.deferred, outcome.certified.risk) == (0.8, 0.5, 0)
    assert (outcome.stopped_at.threshold, outcome.stopped_at.risk) == (0.7, 0.125)
    assert [(one.threshold, one.deferred) for one in outcome.tested] == [(0.9, 0.75), (0.8, 0.5), (0.7, 0.25)]
    assert outcome.tested[1:] == (outcome.certified, outcome.stopped_at)


def test_a_thinned_sequence_keeps_both_ends_and_no_point_twice() -> None:
    idle = [Point(1 - row / 1e6, 0.0, 0.0, 1.0) for row in range(30)]  # the large member answers everything
    busy = [Point(0.9 - row / 1000, row / 1e4, row / 1e5, 0.9 - row / 1000) for row in range(500)]
    kept = thinned([*idle, *busy])
    assert len(kept) == 100 and kept[0] == idle[-1] and kept[-2:] == busy[-2:]  # the last two: certified, stopped at
    assert [one for one in busy if one in kept] == kept[1:]
    assert max(before.deferred - after.deferred for before, after in pairwise(kept[1:])) < 0.01
    assert thinned(busy[:100]) == busy[:100] and thinned(idle) == idle[-1:] and thinned(busy[:1]) == busy[:1]


def test_a_threshold_that_spares_nothing_is_no_success() -> None:
    nobody = Seen(np.full((1, 500), 0.3), np.zeros((2, 500), dtype=np.int64))
    assert fixed_sequence(nobody, "agreement", 0.05, 0.95, np.array([0.9, 0.8])).certified is None
    all_of_them = fixed_sequence(nobody, "agreement", 0.05, 0.95)
    assert all_of_them.certified is not None and all_of_them.certified.deferred == 0
    assert all_of_them.certified.threshold == max(t for t in THRESHOLDS.tolist() if t <= 0.3)  # and no lower


def test_how_many_rows_a_level_takes() -> None:
    assert rows_needed("agreement", 0.01, 0.95) == 299  # ln 0.05 / ln 0.99
    for target in ("agreement", "risk"):
        n = rows_needed(target, 0.02, 0.9)
        p_value = {"agreement": binomial_p, "risk": betting_p}[target]
        assert p_value(zeros(n), 0.02, 0.9) <= 0.1 < p_value(zeros(n - 1), 0.02, 0.9)


def test_the_order_of_the_rows_does_not_matter_much_and_sorting_is_undone() -> None:
    losses = np.concatenate([np.ones(30, dtype=np.int64), np.zeros(1970, dtype=np.int64), -np.ones(20, dtype=np.int64)])
    seen = Seen(np.full((1, len(losses)), 0.9), np.stack([losses, np.zeros_like(losses)]))
    outcome = fixed_sequence(seen, "risk", 0.03, 0.95, np.array([0.8]))
    assert outcome.certified is not None and outcome.certified.p < 1e-3


def test_a_certificate_in_words() -> None:
    certificate = {"target": "agreement", "level": 0.01, "confidence": 0.95, "n": 2000, "rows": {"of": "val"}}
    assert described(certificate) == (
        "another answer than the large model's on at most 1 % of the texts, with 95 % confidence, by 2,000 validation "
        "texts"
    )
    other = certificate | {"target": "risk", "level": 0.005, "rows": {"of": "texts"}}
    assert described(other).startswith("at most 0.5 points more errors than the large model, with 95 %")
    assert described(other).endswith("2,000 unlabelled texts")
