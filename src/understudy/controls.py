"""The controls that need no neural network: the majority class, and TF-IDF with logistic regression (scikit-learn)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .data.task import UNLABELED, Split
from .errors import MissingExtraError

Answer = Callable[[Sequence[str]], NDArray[np.float32]]  # texts → logits (n, labels)

_STRENGTHS = (1.0, 3.0, 10.0)  # inverse regularisation, chosen on validation


@dataclass(frozen=True)
class Control:
    """A fitted control."""

    name: str
    parameters: int
    answer: Answer


def majority(train: Split, classes: int) -> Control:
    """Answers every text with the class shares of train."""
    counts = np.bincount(train.labels[train.labels != UNLABELED], minlength=classes)
    shares = np.log(np.maximum(counts, 0.5) / counts.sum()).astype(np.float32)
    return Control("majority", classes, lambda texts: np.tile(shares, (len(texts), 1)))


def bag_of_words(train: Split, val: Split, classes: int) -> Control:
    """TF-IDF of words and word pairs with logistic regression; its strength is chosen on validation."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtraError("The TF-IDF control", "build") from None
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2 if len(train) > 5000 else 1)
    seen, held = vectorizer.fit_transform(train.texts), vectorizer.transform(val.texts)
    fitted = [LogisticRegression(C=strength, max_iter=1000).fit(seen, train.labels) for strength in _STRENGTHS]
    model = max(fitted, key=lambda candidate: float(candidate.score(held, val.labels)))

    def answer(texts: Sequence[str]) -> NDArray[np.float32]:
        scores = np.full((len(texts), classes), -30.0, dtype=np.float32)  # a class that train lacks is never chosen
        scores[:, model.classes_] = np.maximum(model.predict_log_proba(vectorizer.transform(texts)), -30.0)
        return scores

    return Control("tfidf-lr", int(model.coef_.size + model.intercept_.size), answer)
