"""A run's soft labels, as they are committed, teach in the teacher's place."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from answers_kit import labelled, settings, split_of
from scripts import script
from understudy.artifact import Artifact
from understudy.config import TransformerStudent
from understudy.decision import softmax
from understudy.soft_labels import read_labels
from understudy.training import distill

soft_labels = script("soft_labels")


def test_a_table_of_stored_logits_is_as_good_as_the_teacher(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["soft_labels.py", str(finished_run), str(tmp_path / "soft_labels.parquet")])
    soft_labels.main()
    (tmp_path / "data").symlink_to(finished_run / "data")
    table = settings("table", path="soft_labels.parquet", id="id", scale="logit")
    stored, own = labelled(tmp_path / "data", table), Artifact.load(finished_run / "labels", "labels")
    for name in ("train", "val"):
        ids = split_of(tmp_path / "data", name).ids
        theirs, ours = (softmax(read_labels(labels.path, name, ids)) for labels in (own, stored))
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    student = TransformerStudent(name="fresh", layers=1, width=32, heads=2, epochs=1)
    made = distill(tmp_path / "teacher", stored.path, tmp_path / "data", tmp_path / "student", student)
    assert made.measurements["history"]
