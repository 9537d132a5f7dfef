"""The table of the over-confident teachers: its intervals hold the truth, and its cells follow from the files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from scripts import script

overconfidence_table = script("overconfidence_table")

SEEDS, TEXTS = 5, 200


def test_intervals_hold_the_truth_about_19_times_in_20() -> None:
    """Seeds shift all texts of a student, texts all students: an interval over texts alone would be too narrow."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(150):
        shift = rng.normal(0, 0.06, (SEEDS, 1))
        ours, theirs = (rng.random((SEEDS, TEXTS)) < 0.7 + by for by in (shift, 0.0))
        _, low, high = overconfidence_table.difference(ours, theirs, 400)
        held += low <= 0 <= high
    assert 125 <= held <= 149


def test_the_difference_is_of_means_and_paired() -> None:
    right = np.random.default_rng(0).random((SEEDS, TEXTS)) < 0.6
    better = right.copy()
    better[:, :20] = True
    value, low, high = overconfidence_table.difference(better, right)
    assert value == pytest.approx(better.mean() - right.mean())
    assert 0 < low < value < high
    assert overconfidence_table.difference(right, right) == (0.0, 0.0, 0.0)


def test_a_row_for_each_teacher_from_the_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 90)
    logits = {
        name: rng.normal(size=(90, 3)) * scale
        for name, scale in zip(("early", "late", "scaled", "smoothed"), (1, 9, 2, 1), strict=True)
    }
    np.savez(tmp_path / "teachers.npz", labels=labels, **logits)
    students, correct = [], {}
    for teacher, temperature, seed in [(None, 1.0, s) for s in (2, 1)] + [
        (n, t, s) for n in logits for t in (1.0, 4.0) for s in (2, 1)
    ]:
        name = f"{teacher}-{temperature}-{seed}"
        students.append(
            {"name": name, "teacher": teacher, "temperature": temperature, "seed": seed, "val_nll": 1 / temperature}
        )
        correct[name] = np.arange(40) < (30 if teacher == "early" else 20) + temperature
    np.savez(tmp_path / "correct.npz", **correct)
    (tmp_path / "results.json").write_text(json.dumps({"rows": 90, "epochs": 5, "students": students}))
    header, rows, note = overconfidence_table.table(tmp_path)
    assert [len(row) for row in rows] == [len(header)] * 5
    early, late, *_, gold = rows
    assert float(late[1]) > float(early[1])  # sureness
    assert late[4:] == ["52.50", "60.00", "T 4: 60.00"] and gold[-1] == "52.50"
    assert early[4].startswith("77.50 (+25.00 [") and early[-1].startswith("T 4: 85.00 (+25.00 [")
    assert "2 seeds, n = 40" in note
