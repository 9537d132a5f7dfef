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
}


def test_some_are_committed() -> None:
    assert {home.parts[-3] for home in STUDENTS} <= SAID.keys()
    assert RESULTS / "emotion/students/textcnn" in STUDENTS


@pytest.mark.parametrize("home", STUDENTS, ids=lambda home: f"{home.parts[-3]}-{home.name}")
def test_a_committed_student_is_the_measured_one_and_answers(home: Path) -> None:
    artifact = Artifact.load(home, verify=True)
    task = home.parts[-3]
    (results,) = [
        found
        for file in RESULTS.glob(f"{task}/seed-*/results.json")
        if (found := json.loads(file.read_text(encoding="utf-8")))["seed"] == artifact.seed
    ]
    (row,) = [m for m in results["models"] if (m["name"], m["variant"]) == (home.name, "int8")]
    shipped = artifact.bytes_of("model.onnx", "tokenizer.json")  # the model card came after the measurement
    assert (row["bytes"], row["temperature"]) == (shipped, artifact.temperature)
    text, label = SAID[task]
    (answer,) = Classifier.load(home).predict([text])
    assert answer.label == label
