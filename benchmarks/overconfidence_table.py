"""The table of `overconfidence.py`, from its result files: does a sure teacher teach worse?

Each figure follows from the teachers' validation logits and from which test text each student got right. A difference
is that of the mean accuracies of students of the same seeds, with the same texts; its interval is the bootstrap's, over
seeds and texts at once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.decision import softmax
from understudy.metrics import ece, nll

REFERENCE = "late"
_SAID = {
    "early": "after its first epoch",
    "late": "after its last epoch",
    "scaled": "the same, its logits over the fitted temperature",
    "smoothed": "trained with label smoothing",
}
Right = NDArray[np.bool_]  # (seeds, texts)


def table(home: Path) -> tuple[list[str], list[list[str]], str]:
    """Header, rows and note."""
    found = json.loads((home / "results.json").read_text(encoding="utf-8"))
    students, right, answers = found["students"], np.load(home / "correct.npz"), np.load(home / "teachers.npz")
    temperatures = sorted({row["temperature"] for row in students if row["teacher"]})
    best = {teacher: _best_temperature(students, teacher) for teacher in _SAID}
    rows = []
    for teacher, said in _SAID.items():
        cells = [f"{teacher}: {said}", *_sureness(answers[teacher], answers["labels"])]
        for our, their in [*((t, t) for t in temperatures), (best[teacher], best[REFERENCE])]:
            ours, theirs = _right(students, right, teacher, our), _right(students, right, REFERENCE, their)
            cells.append(_cell(ours, None if teacher == REFERENCE else theirs))
        cells[-1] = f"T {best[teacher]:g}: {cells[-1]}"
        rows.append(cells)
    gold = _right(students, right, None, 1.0)
    rows.append(["no teacher: gold labels", "–", "–", "–", *["–"] * len(temperatures), _cell(gold, None)])
    header = ["teacher", "sure", "ECE", "NLL", *[f"students, T {t:g}" for t in temperatures], "students, best T"]
    seeds, n = gold.shape
    note = (
        f"emotion, {found['rows']:,} training rows; teacher: MiniLM, {found['epochs']} epochs, its mean confidence, "
        "ECE and NLL on validation; students: a small TextCNN on soft labels alone, mean test accuracy % of "
        f"{seeds} seeds, n = {n:,}; in brackets the difference to the students of `{REFERENCE}` in points, with its "
        "95 % interval over seeds and texts. The best T has the lowest mean validation NLL."
    )
    return header, rows, note


def difference(ours: Right, theirs: Right, resamples: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Mean accuracy of ours less that of theirs, with a 95 % interval; (seeds, texts), rows of the same seeds."""
    gap = ours.astype(np.float64) - theirs
    rng = np.random.default_rng(seed)
    seeds, texts = (rng.multinomial(size, np.full(size, 1 / size), resamples) / size for size in gap.shape)
    low, high = np.percentile(np.einsum("rs,st,rt->r", seeds, gap, texts, optimize=True), [2.5, 97.5])
    return float(gap.mean()), float(low), float(high)


def _cell(ours: Right, theirs: Right | None) -> str:
    mean = f"{100 * ours.mean():.2f}"
    if theirs is None:
        return mean
    value, low, high = (100 * part for part in difference(ours, theirs))
    return f"{mean} ({value:+.2f} [{low:+.2f}, {high:+.2f}])"


def _right(students: list[dict[str, Any]], right: Any, teacher: str | None, temperature: float) -> Right:
    """Which text each seed's student got right."""
    chosen = [row for row in students if (row["teacher"], row["temperature"]) == (teacher, temperature)]
    return np.stack([right[row["name"]] for row in sorted(chosen, key=lambda row: row["seed"])])


def _best_temperature(students: list[dict[str, Any]], teacher: str) -> float:
    losses: dict[float, list[float]] = {}
    for row in students:
        if row["teacher"] == teacher:
            losses.setdefault(row["temperature"], []).append(row["val_nll"])
    return min(losses, key=lambda temperature: float(np.mean(losses[temperature])))


def _sureness(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> list[str]:
    """Mean confidence, ECE and NLL of a teacher."""
    probabilities = softmax(logits)
    scores = (probabilities.max(axis=1).mean(), ece(probabilities, labels), nll(probabilities, labels))
    return [f"{score:.3f}" for score in scores]
