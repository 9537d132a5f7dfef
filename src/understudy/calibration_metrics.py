"""How far a classifier's confidence can be relied on: entropy, coverage at a fixed risk, and the study of a model.

Of several labels per text each is a decision of its own, whether it applies or not, as sure as the likelier of the two;
intervals are over texts, since the decisions of one text belong together. Every row needs a label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import multilabel
from .data.task import Labels
from .decision import Decision
from .estimates import Estimate, Scores, percentile, wilson
from .metrics import evaluate_probabilities, reliability

RISKS = (0.01, 0.02, 0.05)
MEASURES = ("confidence", "entropy", "accuracy", "ece", "brier", "nll")

Answered = tuple[NDArray[np.float32], Labels]  # raw logits (n, labels) and the labels of a split


def decisions(probabilities: Scores, labels: Labels) -> tuple[Scores, Labels]:
    """A row for each decision: as given; of several labels per text (n · labels, 2), does not apply and applies."""
    if labels.ndim == 1:
        return probabilities, labels
    applies = np.asarray(probabilities, dtype=np.float64).ravel()
    return np.stack([1 - applies, applies], axis=1), labels.ravel()


def confidence(probabilities: Scores) -> Scores:
    """The probability of each row's chosen label."""
    return np.asarray(np.asarray(probabilities, dtype=np.float64).max(axis=-1))


def entropy(probabilities: Scores) -> Scores:
    """−Σ p · ln p of each row, in nats: 0 where one label has all, ln k where k labels have equal shares."""
    shares = np.asarray(probabilities, dtype=np.float64)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(np.maximum(0.0, 0.0 - (shares * logs).sum(axis=-1)))  # not -0.0


def risk_coverage(probabilities: Scores, labels: Labels) -> tuple[Scores, Scores, Scores]:
    """Threshold, share of rows that are at least so confident, and share of these that are wrong, by rising coverage.

    A row is a decision, as in all that follows. One entry for each confidence that occurs: rows of equal confidence are
    answered together or not at all.
    """
    sure, wrong, ends = _by_confidence(*decisions(probabilities, labels))
    return sure[ends], (ends + 1) / len(sure), wrong.cumsum()[ends] / (ends + 1)


def coverage_at_risk(probabilities: Scores, labels: Labels, risk: float) -> tuple[float, float | None]:
    """The largest share of rows that a threshold on confidence answers with at most `risk` of them wrong, and it.

    0 and None where no threshold does (Geifman and El-Yaniv 2017 call it the coverage at a selective risk).
    """
    thresholds, coverage, risks = risk_coverage(probabilities, labels)
    good = np.flatnonzero(risks <= risk)
    return (float(coverage[good[-1]]), float(thresholds[good[-1]])) if len(good) else (0.0, None)


def at_threshold(
    probabilities: Scores, labels: Labels, threshold: float | None, resamples: int = 2000, seed: int = 0
) -> tuple[Estimate, Estimate]:
    """Share of rows that are at least so confident, and share of these that are wrong, with 95 % intervals.

    The second is NaN where no row is; no threshold answers nothing. Wilson's intervals; of several labels per text a
    bootstrap over texts.
    """
    nan = float("nan")
    rows, truth = decisions(probabilities, labels)
    answered = confidence(rows) >= (np.inf if threshold is None else threshold)
    wrong = (np.argmax(rows, axis=-1) != truth) & answered
    count, mistakes = int(answered.sum()), int(wrong.sum())
    if not count:
        return wilson(0, len(labels)), Estimate(nan, nan, nan, 0)
    if labels.ndim == 1:
        return wilson(count, len(labels)), wilson(mistakes, count)
    by_text = np.stack([part.reshape(labels.shape).sum(axis=1) for part in (answered, wrong)], axis=1).astype(float)
    drawn = np.concatenate([times @ by_text for times in multilabel.draws(len(labels), resamples, seed)])
    with np.errstate(invalid="ignore"):  # a sample of texts none of which is answered is left out
        errors = drawn[:, 1] / drawn[:, 0]
    shares = percentile(count / labels.size, drawn[:, 0] / labels.size, len(labels))
    return shares, percentile(mistakes / count, errors, count)


def calibration_study(
    splits: Mapping[str, Answered], temperature: float, resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """What results.json holds of a model's confidence: split → before and after the temperature → figures.

    With the splits val and test, thresholds that keep a risk on val are held on test: how much they answer there, and
    how often it is wrong.
    """
    study: dict[str, Any] = {}
    for split, (logits, labels) in splits.items():
        found = {"before": _probabilities(logits, labels, 1.0), "after": _probabilities(logits, labels, temperature)}
        study[split] = {when: _figures(probabilities, labels, resamples, seed) for when, probabilities in found.items()}
    if {"val", "test"} <= splits.keys():
        logits, labels = splits["test"]
        probabilities = _probabilities(logits, labels, temperature)
        kept = [row["threshold"] for row in study["val"]["after"]["coverage"]]
        study["held"] = [
            {"risk": risk, "threshold": threshold, "coverage": share.to_dict(), "error": error.to_dict()}
            for risk, threshold in zip(RISKS, kept, strict=True)
            for share, error in [at_threshold(probabilities, labels, threshold, resamples, seed)]
        ]
    return study


def _figures(probabilities: Scores, labels: Labels, resamples: int, seed: int) -> dict[str, Any]:
    rows, truth = decisions(probabilities, labels)
    right = np.argmax(rows, axis=-1) == truth
    values = [float(confidence(rows).mean()), float(entropy(rows).mean())]
    reached = [coverage_at_risk(probabilities, labels, risk) for risk in RISKS]
    *drawn, accuracies = _resampled(rows, truth, len(labels), RISKS, resamples, seed)
    bounds = np.quantile(drawn, [0.025, 0.975], axis=1).T.tolist()
    if labels.ndim == 1:
        scores = evaluate_probabilities(probabilities, labels, resamples, seed)
        scores |= {"accuracy": wilson(int(right.sum()), len(labels))}
    else:
        scores = multilabel.evaluate(probabilities, (probabilities >= 0.5).astype(np.int64), labels, resamples, seed)
        scores |= {"accuracy": percentile(float(right.mean()), accuracies, len(labels))}
    found = [
        Estimate(value, low, high, len(labels)).to_dict()
        for value, (low, high) in zip([*values, *(share for share, _ in reached)], bounds, strict=True)
    ]
    measures = {"confidence": found[0], "entropy": found[1]}
    measures |= {name: scores[name].to_dict() for name in MEASURES if name in scores}
    coverage = [
        {"risk": risk, "coverage": share, "threshold": threshold}
        for risk, share, (_, threshold) in zip(RISKS, found[2:], reached, strict=True)
    ]
    return {
        "measures": measures,
        "coverage": coverage,
        "reliability": [list(b) for b in (reliability if labels.ndim == 1 else multilabel.reliability)(
            probabilities, labels
        )],
    }  # fmt: skip


def _probabilities(logits: NDArray[np.float32], labels: Labels, temperature: float) -> Scores:
    return Decision("single" if labels.ndim == 1 else "multi", temperature).probabilities(logits)


def _resampled(
    probabilities: Scores, labels: Labels, texts: int, risks: Sequence[float], resamples: int, seed: int
) -> Scores:
    """Bootstrap replicates (3 + risks, resamples): mean confidence, mean entropy, coverage at each risk, accuracy.

    Texts are drawn, each with all its decisions.
    """
    sure, wrong, ends = _by_confidence(probabilities, labels)
    order, rows = _falling(confidence(probabilities)), len(labels)
    values = np.stack([sure, entropy(probabilities)[order]])
    text = order // (rows // texts) if rows > texts else np.arange(rows)  # alone, any text may stand for any other
    generator = np.random.default_rng(seed)
    replicates = np.empty((3 + len(risks), resamples))
    for column in range(resamples):
        times = np.bincount(generator.integers(texts, size=texts), minlength=texts)[text]
        answered = times.cumsum()[ends]
        share_wrong = (times * wrong).cumsum()[ends] / np.maximum(answered, 1)
        reached = [int(answered[share_wrong <= risk].max(initial=0)) / rows for risk in risks]
        replicates[:, column] = *(values @ times / rows), *reached, 1 - share_wrong[-1]
    return replicates


def _by_confidence(probabilities: Scores, labels: Labels) -> tuple[Scores, NDArray[np.bool_], NDArray[np.intp]]:
    """Confidences from the highest on, whether these rows are wrong, and the last row of each confidence."""
    sure = confidence(probabilities)
    order = _falling(sure)
    sure, wrong = sure[order], (np.argmax(probabilities, axis=-1) != labels)[order]
    return sure, wrong, np.flatnonzero(np.append(sure[1:] < sure[:-1], True))


def _falling(sure: Scores) -> NDArray[np.intp]:
    return np.argsort(-sure, kind="stable")
