"""Holm's adjustment, intervals over seeds and texts, and bounds by a margin: their laws, and that they hold."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from understudy import metrics, multilabel
from understudy.conclusions import _non_inferiority
from understudy.estimates import percentile
from understudy.metrics import mcnemar, paired_difference
from understudy.significance import _score, differences, holm, over_seeds, score_bound, two_sided

P = st.lists(st.floats(0, 1), min_size=1, max_size=6)


@given(P)
def test_holm_is_never_below_the_raw_p_value_and_keeps_their_order(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(raw <= after <= 1 for raw, after in zip(p, adjusted, strict=True))
    assert all((p[i] <= p[j]) <= (adjusted[i] <= adjusted[j]) for i in range(len(p)) for j in range(len(p)))
    assert min(adjusted) == pytest.approx(min(1.0, len(p) * min(p)))


@given(P)
@settings(max_examples=20)
def test_holm_does_not_depend_on_the_order(p: list[float]) -> None:
    expected = dict(zip(p, holm(p), strict=True))
    for order in list(permutations(p))[:24]:
        assert holm(order) == pytest.approx([expected[value] for value in order])


def test_holm_of_a_textbook_family() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == [0.2] and holm([]) == []


LABELS = np.random.default_rng(0).integers(3, size=200)


def answers(right: float, seed: int) -> NDArray[np.int64]:
    generator = np.random.default_rng(seed)
    return np.where(generator.random(200) < right, LABELS, generator.integers(3, size=200))


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_one_seed_is_the_bootstrap_over_texts(metric: str) -> None:
    one, other = answers(0.8, 1), answers(0.6, 2)
    found, drawn = differences(LABELS, [one], [other], metric, 300, 7)
    ours = percentile(float(found[0]), over_seeds(drawn, 7), 200)
    assert ours == paired_difference(LABELS, other, one, metric, 300, 7)


def test_a_single_second_is_held_against_every_first() -> None:
    firsts, second = [answers(0.8, seed) for seed in range(3)], answers(0.6, 9)
    found, drawn = differences(LABELS, firsts, [second], "accuracy", 100, 1)
    again, drawn_again = differences(LABELS, firsts, [second] * 3, "accuracy", 100, 1)
    assert np.array_equal(found, again) and drawn.shape == drawn_again.shape == (3, 100)
    assert found == pytest.approx([np.mean(one == LABELS) - np.mean(second == LABELS) for one in firsts])


def test_seeds_that_differ_widen_the_interval_and_equal_ones_do_not() -> None:
    generator = np.random.default_rng(3)
    alike = np.tile(generator.normal(0, 1, 4000), (5, 1))
    assert over_seeds(alike, 1) == pytest.approx(over_seeds(alike[:1], 1))
    moved = np.array([-20.0, -10.0, 0.0, 10.0, 20.0])
    apart = alike + moved[:, None]
    expected = 1 + np.var(moved, ddof=1) / 5  # of the texts, and of a mean of five seeds
    assert np.var(over_seeds(apart, 1)) == pytest.approx(expected, rel=0.1)


def test_hundreds_of_labels_and_a_dozen_models_are_no_overflow() -> None:
    """Joint cells are more than an integer can number: their ranks are counted instead."""
    generator = np.random.default_rng(5)
    labels = generator.integers(300, size=400)
    models = [generator.integers(300, size=400) for _ in range(12)]
    values, drawn = metrics.tabulated(labels, models, "accuracy", 20, 1)
    assert values == pytest.approx([np.mean(model == labels) for model in models])
    assert drawn.shape == (12, 20) and drawn.max() <= 1


@pytest.mark.parametrize("several", [False, True])
def test_models_are_scored_on_the_same_resamples(several: bool) -> None:
    """The same model twice has the same replicates in each column; another order of confidence changes nothing."""
    generator = np.random.default_rng(2)
    shares = generator.dirichlet(np.ones(3), 120)
    if several:
        truth = generator.integers(2, size=(120, 3))
        drawn = multilabel.replicates([shares, shares], [(shares > 0.5).astype(int)] * 2, truth, 30, 4)
    else:
        drawn = metrics.replicates([shares, shares[:, ::-1], shares], generator.integers(3, size=120), 30, 4)
    for name, (first, *_, last) in drawn.items():
        assert np.array_equal(first, last), name


def test_the_interval_over_seeds_and_texts_holds_the_truth() -> None:
    """Of 300 draws of five seeds and 400 texts, about 95 %; an interval over the texts of one seed holds less often."""
    generator = np.random.default_rng(11)
    hits = texts_alone = 0
    for draw in range(300):
        skills = 0.8 + generator.normal(0, 0.03, 5)
        hard = generator.random(400)
        labels = np.zeros(400, dtype=np.int64)
        models = [(hard + generator.normal(0, 0.05, 400) > skill).astype(np.int64) for skill in skills]
        constant = np.ones(400, dtype=np.int64)  # never right: the difference is the accuracy
        found, drawn = differences(labels, models, [constant], "accuracy", 300, draw)
        truth = 0.8
        both = percentile(float(found.mean()), over_seeds(drawn, draw), 400)
        alone = percentile(float(found[0]), drawn[0], 400)
        hits += both.low <= truth <= both.high
        texts_alone += alone.low <= truth <= alone.high
    assert hits >= 0.91 * 300 and texts_alone < 0.9 * 300


def test_a_loss_of_the_margin_is_called_not_worse_in_1_of_20_at_most() -> None:
    """The true loss is the margin: by the score test for one seed, by the lower of two bounds for five."""
    generator = np.random.default_rng(4)
    by_one = by_five = 0
    labels, loss, draws = np.ones(600, dtype=np.int64), 0.9 - (0.88 * 0.97 + 0.12 * 0.03), 400
    for draw in range(draws):
        teacher = (generator.random(600) < 0.9).astype(np.int64)
        worse = np.where(generator.random(600) < 0.02 / 0.9, 0, teacher)
        seeds = [np.where(generator.random(600) < 0.03, 1 - worse, worse) for _ in range(5)]
        tests = [mcnemar(labels, one, teacher) for one in seeds]
        by_one += score_bound(tests[0].only_first, tests[0].only_second, 600) > -loss
        _, drawn = differences(labels, seeds, [teacher], "accuracy", 200, draw)
        by_five += _non_inferiority(over_seeds(drawn, draw), seeds, teacher, labels, "accuracy", 100 * loss)["shown"]
    limit = 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / draws)
    assert 0.01 < by_one / draws <= limit and by_five / draws <= limit


@pytest.mark.parametrize(("first", "second", "n"), [(0, 0, 70), (3, 10, 200), (40, 12, 300), (0, 5, 50), (9, 0, 40)])
def test_a_score_bound_is_where_the_test_turns(first: int, second: int, n: int) -> None:
    bound = score_bound(first, second, n)
    assert -1 < bound < (first - second) / n
    assert _score(bound - 1e-4, first, second, n) > 1.644854 > _score(bound + 1e-4, first, second, n)


@pytest.mark.parametrize(("first", "second", "n", "gap"), [(3, 10, 200, -0.08), (40, 12, 300, 0.05), (0, 5, 50, -0.2)])
def test_a_score_is_that_of_the_likeliest_shares_with_the_difference(
    first: int, second: int, n: int, gap: float
) -> None:
    share = np.linspace(max(0.0, -gap) + 1e-6, (1 - gap) / 2 - 1e-6, 200_001)  # that only the second gets right
    logs = first * np.log(share + gap) + second * np.log(share) + (n - first - second) * np.log(1 - 2 * share - gap)
    spread = math.sqrt(n * (2 * share[logs.argmax()] + gap - gap**2))
    assert _score(gap, first, second, n) == pytest.approx((first - second - n * gap) / spread, rel=1e-3)


def test_no_answer_that_differs_rules_out_only_what_so_few_texts_can() -> None:
    assert score_bound(0, 0, 70) == pytest.approx(-(1.6448536**2) / (70 + 1.6448536**2))


def test_a_p_value_of_replicates() -> None:
    assert two_sided(np.full(199, 0.1)) == 2 / 200
    assert two_sided(np.zeros(199)) == 1.0
    around = np.linspace(-1, 1, 201)
    assert two_sided(around) == pytest.approx(1.0)
    assert two_sided(around + 0.9) == pytest.approx(two_sided(-around - 0.9)) == pytest.approx(2 * 12 / 202)
