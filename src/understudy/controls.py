"""The controls that need no neural network: a constant answer, and TF-IDF with logistic regression (scikit-learn)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import multilabel
from .data.task import UNLABELED, Labels, Split, Task
from .decision import Decision, losses, sigmoid
from .errors import MissingExtraError
from .thresholds import Aim, fit_thresholds

Answer = Callable[[Sequence[str]], NDArray[np.float32]]  # texts → logits (n, labels)

_STRENGTHS = (1.0, 3.0, 10.0)  # inverse regularisation, chosen on validation


@dataclass(frozen=True)
class Control:
    """A fitted control; `always` names the labels that a constant one gives to every text of a multi-label task."""

    name: str
    parameters: int
    answer: Answer
    decision: Decision = field(default_factory=Decision)
    always: list[str] | None = None


def majority(train: Split, task: Task) -> Control:
    """Answers every text with the class shares of train; of several labels, the constant set of the best metric."""
    if task.multi:
        return _constant_set(train.labels, task)
    classes = len(task.labels)
    counts = np.bincount(train.labels[train.labels != UNLABELED], minlength=classes)
    shares = np.log(np.maximum(counts, 0.5) / counts.sum()).astype(np.float32)
    return Control("majority", classes, lambda texts: np.tile(shares, (len(texts), 1)))


def bag_of_words(train: Split, val: Split, task: Task, aim: Aim = "f1", target: float = 0.9) -> Control:
    """TF-IDF of words and word pairs with logistic regression; its strength is chosen on validation.

    Of several labels each has a regression of its own, and a threshold fitted on validation for `aim`.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtraError("The TF-IDF control", "build") from None
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2 if len(train) > 5000 else 1)
    seen, held = vectorizer.fit_transform(train.texts), vectorizer.transform(val.texts)
    if task.multi:
        return _one_against_rest(vectorizer, seen, train.labels, held, val.labels, aim, target)
    classes = len(task.labels)
    fitted = [LogisticRegression(C=strength, max_iter=1000).fit(seen, train.labels) for strength in _STRENGTHS]
    model = max(fitted, key=lambda candidate: float(candidate.score(held, val.labels)))

    def answer(texts: Sequence[str]) -> NDArray[np.float32]:
        scores = np.full((len(texts), classes), -30.0, dtype=np.float32)  # a class that train lacks is never chosen
        scores[:, model.classes_] = np.maximum(model.predict_log_proba(vectorizer.transform(texts)), -30.0)
        return scores

    return Control("tfidf-lr", int(model.coef_.size + model.intercept_.size), answer)


def _constant_set(labels: Labels, task: Task) -> Control:
    """The commonest set, or the m commonest labels: whichever scores best on train, whose shares are the odds."""
    shares = labels.mean(axis=0)
    sets, counts = np.unique(labels, axis=0, return_counts=True)
    rank = np.argsort(np.argsort(-shares, kind="stable"), kind="stable")
    candidates = [sets[counts.argmax()], *((rank < size).astype(np.int64) for size in range(1, len(shares) + 1))]
    metric = multilabel.METRICS[task.metric]
    best = max(candidates, key=lambda chosen: float(metric(_constant_outcomes(labels, chosen))))
    odds = np.clip(shares, 0.5 / len(labels), 1 - 0.5 / len(labels))
    logits = np.log(odds / (1 - odds)).astype(np.float32)
    thresholds = tuple(0.0 if there else 1.0 for there in best)
    always = [label for label, there in zip(task.labels, best, strict=True) if there]
    decision = Decision("multi", 1.0, thresholds)
    return Control("majority", len(shares), lambda texts: np.tile(logits, (len(texts), 1)), decision, always)


def _constant_outcomes(labels: Labels, chosen: Labels) -> multilabel.Outcomes:
    return multilabel.outcomes(labels, np.tile(chosen, (len(labels), 1)))


def _one_against_rest(
    vectorizer: Any, seen: Any, labels: Labels, held: Any, truth: Labels, aim: Aim, target: float
) -> Control:
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    def fit(strength: float) -> Any:
        return OneVsRestClassifier(LogisticRegression(C=strength, max_iter=1000)).fit(seen, labels)

    model = min(
        map(fit, _STRENGTHS), key=lambda candidate: float(losses(candidate.decision_function(held), truth).mean())
    )
    fitted = fit_thresholds(sigmoid(model.decision_function(held).astype(np.float32)), truth, aim, target)
    size = sum(int(estimator.coef_.size + estimator.intercept_.size) for estimator in model.estimators_)

    def answer(texts: Sequence[str]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = model.decision_function(vectorizer.transform(texts)).astype(np.float32)
        return scores

    return Control("tfidf-lr", size, answer, Decision("multi", 1.0, tuple(threshold.value for threshold in fitted)))
