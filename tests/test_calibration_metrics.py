"""Entropy, coverage at a fixed risk, and the study that results.json holds: their laws, and cases done by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import entropy as reference_entropy

from understudy import metrics, multilabel
from understudy.calibration_metrics import (
    RISKS,
    at_threshold,
    calibration_study,
    confidence,
    coverage_at_risk,
    entropy,
    risk_coverage,
)
from understudy.decision import sigmoid, softmax

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
# Confidence in tenths, so that some are equal, and whether the answer is right
ANSWERS = st.lists(st.tuples(st.integers(5, 10), st.booleans()), min_size=1, max_size=40)
SEEDS = st.integers(0, 10**6)


def of(answers: list[tuple[int, bool]]) -> tuple[Floats, Labels]:
    """Probabilities of two labels, the first of them chosen, and the labels that make them right or wrong."""
    sure = np.array([tenths / 10 for tenths, _ in answers])
    return np.stack([sure, 1 - sure], axis=1), np.array([int(not right) for _, right in answers])


def invented(seed: int, rows: int = 300, classes: int = 4, scale: float = 3.0) -> tuple[NDArray[np.float32], Labels]:
    """Logits, and labels drawn from their probabilities: perfectly calibrated."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=scale, size=(rows, classes)).astype(np.float32)
    return logits, (softmax(logits).cumsum(axis=1) > random.random((rows, 1))).argmax(axis=1)


@given(SEEDS, st.integers(2, 9), st.floats(0, 50))
def test_entropy_is_that_of_the_textbook_and_between_0_and_log_k(seed: int, classes: int, scale: float) -> None:
    probabilities = softmax(np.random.default_rng(seed).normal(scale=scale, size=(5, classes)))
    np.testing.assert_allclose(entropy(probabilities), reference_entropy(probabilities, axis=1), atol=1e-12)
    assert (entropy(probabilities) <= math.log(classes) + 1e-12).all()


def test_the_ends_of_entropy() -> None:
    assert entropy(np.full((1, 6), 1 / 6)) == pytest.approx(math.log(6))
    assert entropy(np.array([[0.5, 0.5, 0.0]])) == pytest.approx(math.log(2))
    certain = entropy(np.eye(3))
    assert certain.tolist() == [0, 0, 0] and not np.signbit(certain).any()


def test_coverage_by_hand() -> None:
    """Wrong is the third of 0.9 and one of 0.7: risks 0/2, 1/4 (two of 0.9 go together), 1/5, 2/6."""
    sure = [10, 10, 9, 9, 8, 7]
    probabilities, labels = of(list(zip(sure, [True, True, False, True, True, False], strict=True)))
    shuffled = np.array([3, 0, 5, 1, 4, 2])
    probabilities, labels = probabilities[shuffled], labels[shuffled]
    thresholds, coverage, risks = risk_coverage(probabilities, labels)
    np.testing.assert_allclose(thresholds, [1.0, 0.9, 0.8, 0.7])
    np.testing.assert_allclose(coverage, [2 / 6, 4 / 6, 5 / 6, 1])
    np.testing.assert_allclose(risks, [0, 1 / 4, 1 / 5, 2 / 6])
    assert coverage_at_risk(probabilities, labels, 0.1) == (2 / 6, 1.0)
    assert coverage_at_risk(probabilities, labels, 0.2) == (5 / 6, 0.8)  # though 1/4 lies on the way
    assert coverage_at_risk(probabilities, labels, 1 / 3) == (1.0, 0.7)
    wrong = 1 - labels
    assert coverage_at_risk(probabilities, wrong, 0.01) == (0.0, None)


@given(st.integers(1, 30), st.sampled_from(RISKS))
def test_a_risk_that_is_met_exactly_is_met(hundreds: int, risk: float) -> None:
    """1 wrong of 100 is 1 %, whatever floats make of 0.01 · 100."""
    rows = 100 * hundreds
    labels = (np.arange(rows) < round(risk * rows)).astype(np.int64)
    assert coverage_at_risk(np.tile([0.8, 0.2], (rows, 1)), labels, risk) == (1.0, 0.8)


@given(ANSWERS, st.floats(0, 1), st.floats(0, 1))
def test_coverage_rises_with_the_risk_and_keeps_it(answers: list[tuple[int, bool]], one: float, other: float) -> None:
    probabilities, labels = of(answers)
    low, high = sorted((one, other))
    (less, _), (more, threshold) = (coverage_at_risk(probabilities, labels, risk) for risk in (low, high))
    assert 0 <= less <= more <= 1
    share, error = at_threshold(probabilities, labels, threshold)
    assert share.value == more
    assert threshold is None or error.value <= high
    for lower in {float(p) for p in confidence(probabilities)}:  # no threshold answers more at this risk
        found, wrong = at_threshold(probabilities, labels, lower)
        assert found.value <= more or wrong.value > high


@given(ANSWERS, SEEDS)
def test_the_order_of_rows_does_not_matter(answers: list[tuple[int, bool]], seed: int) -> None:
    probabilities, labels = of(answers)
    order = np.random.default_rng(seed).permutation(len(labels))
    for one, other in zip(
        risk_coverage(probabilities, labels), risk_coverage(probabilities[order], labels[order]), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert risk_coverage(probabilities, labels)[2][-1] == pytest.approx(np.mean(labels != 0))


def test_a_threshold_that_nobody_reaches_answers_nothing() -> None:
    probabilities, labels = of([(9, True), (6, False)])
    for threshold in (0.95, None):
        share, error = at_threshold(probabilities, labels, threshold)
        assert (share.value, share.n, error.n) == (0.0, 2, 0)
        assert math.isnan(error.value) and error.to_dict()["value"] is None


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.floats(0.2, 5))
def test_a_temperature_changes_no_answer_and_not_its_own_split_alone(seed: int, temperature: float) -> None:
    logits, labels = invented(seed, rows=60)
    study = calibration_study({"val": (logits, labels), "test": (logits, labels)}, temperature, 10)
    for split in ("val", "test"):
        before, after = (study[split][when]["measures"] for when in ("before", "after"))
        assert before["accuracy"] == after["accuracy"]
        softer = after["entropy"]["value"] - before["entropy"]["value"]
        assert softer >= 0 if temperature >= 1 else softer <= 0
        surer = after["confidence"]["value"] - before["confidence"]["value"]
        assert surer <= 0 if temperature >= 1 else surer >= 0


def test_with_two_labels_a_temperature_changes_no_coverage() -> None:
    logits, labels = invented(2, classes=2)
    test = calibration_study({"test": (logits, labels)}, 2.5, 50)["test"]
    before, after = ([row["coverage"] for row in test[when]["coverage"]] for when in ("before", "after"))
    assert before == after
    assert test["before"]["coverage"][2]["threshold"] > test["after"]["coverage"][2]["threshold"]


def test_a_calibrated_model_shows_no_error_and_an_over_confident_one_does() -> None:
    logits, labels = invented(3, rows=20_000)
    study = calibration_study({"test": (3 * logits, labels)}, 3.0, 20)["test"]
    wrong, right = (study[when]["measures"] for when in ("before", "after"))
    assert right["ece"]["value"] < 0.015 < 0.1 < wrong["ece"]["value"]
    assert right["confidence"]["value"] == pytest.approx(right["accuracy"]["value"], abs=0.01)
    assert wrong["nll"]["value"] > right["nll"]["value"] and wrong["brier"]["value"] > right["brier"]["value"]
    gaps = [abs(mean - share) for mean, share, _ in study["after"]["reliability"]]
    assert max(gaps) < 0.05 and sum(size for *_, size in study["after"]["reliability"]) == 20_000


def test_the_study_agrees_with_the_metrics_of_the_benchmark() -> None:
    logits, labels = invented(4)
    found = calibration_study({"test": (logits, labels)}, 1.7, 50, seed=9)["test"]["after"]
    scores = metrics.evaluate(softmax(logits, 1.7), labels, 50, seed=9)
    for name in ("accuracy", "ece", "brier", "nll"):
        assert found["measures"][name] == scores[name].to_dict()
    assert found["reliability"] == [list(bin_) for bin_ in metrics.reliability(softmax(logits, 1.7), labels)]


def test_a_threshold_is_chosen_on_validation_and_held_on_test() -> None:
    val, test = invented(5), invented(6, rows=200)
    study = calibration_study({"val": val, "test": test}, 1.4, 20)
    moved = calibration_study({"val": val, "test": invented(7, rows=200)}, 1.4, 20)
    for row, other, chosen in zip(study["held"], moved["held"], study["val"]["after"]["coverage"], strict=True):
        assert row["risk"] == chosen["risk"]
        assert row["threshold"] == other["threshold"] == chosen["threshold"]  # test has no say in it
        share, error = at_threshold(softmax(test[0], 1.4), test[1], row["threshold"])
        assert (row["coverage"], row["error"]) == (share.to_dict(), error.to_dict())
    assert "held" not in calibration_study({"test": test}, 1.4, 20)


def of_several(seed: int, rows: int = 200, labels: int = 3) -> tuple[NDArray[np.float32], Labels]:
    """Logits of labels that apply each by itself, and truth drawn from their probabilities."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=3, size=(rows, labels)).astype(np.float32)
    return logits, (random.random((rows, labels)) < sigmoid(logits)).astype(np.int64)


def test_of_several_labels_each_is_a_decision_between_two() -> None:
    val, test = of_several(10), of_several(11)
    study = calibration_study({"val": val, "test": test}, 1.3, 20)
    flat = {
        split: (np.stack([0 * logits.ravel(), logits.ravel()], axis=1), labels.ravel())
        for split, (logits, labels) in {"val": val, "test": test}.items()
    }
    single = calibration_study(flat, 1.3, 20)
    for split, when in (("val", "before"), ("test", "after")):
        mine, theirs = study[split][when], single[split][when]
        for name in ("confidence", "entropy", "accuracy", "nll"):
            assert mine["measures"][name]["value"] == pytest.approx(theirs["measures"][name]["value"])
            assert mine["measures"][name]["n"] == 200
        for one, other in zip(mine["coverage"], theirs["coverage"], strict=True):
            assert one["coverage"]["value"] == other["coverage"]["value"]
            assert one["threshold"] == pytest.approx(other["threshold"])
    scores = multilabel.evaluate(sigmoid(test[0], 1.3), (test[0] > 0).astype(np.int64), test[1], 20)
    for name in ("ece", "brier", "nll"):
        assert study["test"]["after"]["measures"][name] == scores[name].to_dict()
    for one, other in zip(study["held"], single["held"], strict=True):
        assert one["coverage"]["value"] == pytest.approx(other["coverage"]["value"])
        assert one["error"]["value"] == pytest.approx(other["error"]["value"])


def test_the_labels_of_a_text_are_resampled_together() -> None:
    """Three copies of one label say no more than it: the intervals are as wide."""
    logits, labels = of_several(12, labels=1)
    one, three = (
        calibration_study({"val": part, "test": part}, 1.0, 400)
        for part in ((logits, labels), (np.repeat(logits, 3, axis=1), np.repeat(labels, 3, axis=1)))
    )
    for name in ("confidence", "entropy", "accuracy", "nll"):
        wide, found = (np.diff(study["test"]["after"]["measures"][name]["ci95"]) for study in (one, three))
        assert 0.75 < found / wide < 1.33, name
    for first, second in zip(one["held"], three["held"], strict=True):
        assert first["error"]["ci95"] == pytest.approx(second["error"]["ci95"])
        assert first["coverage"]["ci95"] == pytest.approx(second["coverage"]["ci95"])


@pytest.mark.wide
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Mean confidence and entropy of a population of 20,000, from samples of 200; 80 samples, 95 % ± 3 deviations."""
    logits, labels = invented(8, rows=20_000)
    probabilities, random = softmax(logits), np.random.default_rng(1)
    truth = {"confidence": confidence(probabilities).mean(), "entropy": entropy(probabilities).mean()}
    held: dict[str, int] = dict.fromkeys(truth, 0)
    for seed in range(80):
        rows = random.integers(20_000, size=200)
        found = calibration_study({"test": (logits[rows], labels[rows])}, 1.0, 200, seed)["test"]["after"]["measures"]
        for name, value in truth.items():
            low, high = found[name]["ci95"]
            held[name] += low <= value <= high
    assert all(count >= 70 for count in held.values()), held


def test_another_seed_or_number_of_resamples_gives_another_interval() -> None:
    splits: Any = {"test": invented(9)}
    one, other, more = (calibration_study(splits, 1.5, *how)["test"]["after"] for how in ((50, 1), (50, 2), (80, 1)))
    assert one == calibration_study(splits, 1.5, 50, 1)["test"]["after"]
    for found in (other, more):
        assert found["measures"]["confidence"]["ci95"] != one["measures"]["confidence"]["ci95"]
        assert found["coverage"][2]["coverage"]["ci95"] != one["coverage"][2]["coverage"]["ci95"]
