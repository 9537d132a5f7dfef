"""Whether hashing is what a student of n-grams waits for: texts per second of tokenising, in C and NumPy, and in all.

    python benchmarks/hashing_speed.py OUT.json RUN STUDENT [RUN STUDENT …]

One thread, 2,000 validation texts of the run in batches of 32, four ways in turns; C and NumPy give equal ids.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np

from understudy import Classifier, hashing
from understudy.data.storing import read_split
from understudy.machine import describe, versions
from understudy.tokenization import TextEncoder

TEXTS, BATCH, ROUNDS = 2000, 32, 7


def main() -> None:
    """Entry point."""
    out, pairs = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    assert hashing.fast(), "the C library is not there: install understudy where a C compiler is"
    rows = [measured(run, run / "students" / student) for run, student in zip(pairs[::2], pairs[1::2], strict=True)]
    out.write_text(
        json.dumps({"machine": describe(), "versions": versions(), "rows": rows}, indent=1), encoding="utf-8"
    )
    for row in rows:
        print(row)


def measured(run: Path, student: Path) -> dict[str, Any]:
    """The four rates of one student, medians of rounds, and what share of an answer's time is hashing."""
    classifier = Classifier.load(student, threads=1)
    texts = read_split(run / "data/val.parquet", "val").texts[:TEXTS]
    assert classifier.artifact.text is not None
    encoder = TextEncoder.load(classifier.artifact, classifier.artifact.text)
    in_c = encoder.encode(texts)
    with patch.object(hashing, "fast", lambda: False):
        assert all(map(np.array_equal, in_c, encoder.encode(texts)))
    ways: dict[str, Callable[[], float]] = {
        "hashing_in_c": lambda: seconds(encoder.encode, texts),
        "hashing_in_numpy": lambda: without_c(encoder.encode, texts),
        "prediction": lambda: seconds(classifier.predict_proba, texts),
        "prediction_in_numpy": lambda: without_c(classifier.predict_proba, texts),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS + 1):
        for name, way in ways.items():
            times[name].append(way())
    shares = [a / b for a, b in zip(times["hashing_in_c"][1:], times["prediction"][1:], strict=True)]
    rates = {name: len(texts) / median(found[1:]) for name, found in times.items()}
    return {
        "task": run.name, "student": student.parent.name, "texts": len(texts),
        "words": float(np.mean([len(text.split()) for text in texts])), "ngrams": float(np.mean([*map(len, in_c)])),
        "texts_per_second": rates, "hashing_share": median(shares), "shares": shares,
    }  # fmt: skip


def seconds(work: Callable[[list[str]], Any], texts: list[str]) -> float:
    """How long the texts take in batches."""
    begun = time.perf_counter()
    for start in range(0, len(texts), BATCH):
        work(texts[start : start + BATCH])
    return time.perf_counter() - begun


def without_c(work: Callable[[list[str]], Any], texts: list[str]) -> float:
    """The same with NumPy doing what the library does."""
    with patch.object(hashing, "fast", lambda: False):
        return seconds(work, texts)


if __name__ == "__main__":
    main()
