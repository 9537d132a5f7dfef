"""Law 13: a prediction depends on nothing but its text."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

import tiny
from understudy import Classifier

TEXTS = [text for text, _ in tiny.rows(120, seed=77)] + ["a", "lovely", "the " * 60, "", "œuvre 日本 🙂", "x" * 500]


def check_independence(model: Path) -> None:
    """The same bytes for a text alone, in a batch, in another order and with more threads."""
    classifier = Classifier.load(model, threads=1)
    together = classifier.logits(TEXTS)
    alone = np.concatenate([classifier.logits([text]) for text in TEXTS])
    assert together.tobytes() == alone.tobytes()
    order = random.Random(3).sample(range(len(TEXTS)), len(TEXTS))
    shuffled = classifier.logits([TEXTS[row] for row in order])
    assert shuffled.tobytes() == together[order].tobytes()
    threaded = Classifier.load(model, threads=3).logits(TEXTS * 3)
    assert threaded.tobytes() == np.concatenate([together] * 3).tobytes()
