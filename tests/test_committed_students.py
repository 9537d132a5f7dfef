"""The students under benchmarks/results are those of the result files, whole, and answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import BENCHMARKS
from understudy import Classifier
from understudy.artifact import Artifact

RESULTS = BENCHMARKS / "results"
STUDENTS = sorted(RESULTS.glob("*/students/*"))
if not RESULTS.exists():
    pytest.skip("benchmarks/ does not come with the sdist", allow_module_level=True)

SAID = {
    "emotion": ("i feel so happy and joyful today", "joy"),
    "sst2": ("a gorgeous, witty and moving film", "positive"),
    "imperative": ("please send me the file now", "imperative"),
    "emotion-students": ("i feel so happy and joyful today", "joy"),
    "imdb-students": ("a gorgeous, witty and moving film", "positive"),
    "sst2-students": ("a gorgeous , witty and moving film", "positive"),
    "tweet-sentiment-students": ("i love this so much, what a great day", "positive"),
}


def test_some_are_committed() -> None:
    assert {home.parts[-3] for home in STUDENTS} <= SAID.keys()
    assert RESULTS / "emotion/students/textcnn" in STUDENTS


@pytest.mark.parametrize("home", STUDENTS, ids=lambda home: f"{home.parts[-3]}-{home.name}")
def test_a_committed_student_is_the_measured_one_and_answers(home: Path) -> None:
    artifact = Artifact.load(home, verify=True)
    task = home.parts[-3]
    rows = [
        (found["seed"], row)
        for file in RESULTS.glob(f"{task}/seed-*/results.json")
        for found in [json.loads(file.read_text(encoding="utf-8"))]
        for row in found["models"]
        if (row["name"], row["variant"]) == (home.name, "int8")
    ]
    if "seeds" in rows[0][1]:
        ((first, row),) = rows
        assert row["seeds"]["ships"] == artifact.seed
        assert row["seeds"]["files"][str(artifact.seed)]["temperature"] == artifact.temperature
    else:
        first, row = next(pair for pair in rows if pair[0] == artifact.seed)
        assert row["temperature"] == artifact.temperature
    if first == artifact.seed:  # the model card came after the measurement
        assert row["bytes"] == artifact.bytes_of(*(name for name in artifact.files if name != "README.md"))
    text, label = SAID[task]
    (answer,) = Classifier.load(home).predict([text])
    assert answer.label == label
