"""The one inference path: a prediction depends on nothing but its text."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neighbours import TEXTS, check_independence
from understudy import Classifier
from understudy.artifact import Artifact
from understudy.errors import ArtifactError
from understudy.machine import has_vnni

SHIPPED = [f"students/{name}/{variant}" for name in ("half", "fresh", "cnn") for variant in ("fp32", "fp16", "int8")]


@pytest.mark.parametrize("model", ["teacher-fp32", *SHIPPED])
def test_a_prediction_does_not_depend_on_its_neighbours(finished_run: Path, model: str) -> None:
    check_independence(finished_run / model)


def test_dynamic_int8_breaks_that_law_which_is_why_it_is_not_the_default(finished_run: Path, tmp_path: Path) -> None:
    from understudy.config import QuantizeConfig
    from understudy.quantization import quantize

    made = quantize(
        finished_run / "teacher-fp32", finished_run / "data", tmp_path / "dynamic", QuantizeConfig(method="dynamic")
    )
    assert any("depends on the other texts of its batch" in warning for warning in made.warnings)
    classifier = Classifier.load(tmp_path / "dynamic", threads=1)
    same_length = [text for text in TEXTS if len(text.split()) == 8]
    alone = np.concatenate([classifier.logits([text]) for text in same_length])
    assert classifier.logits(same_length).tobytes() != alone.tobytes()


def test_predictions_are_calibrated_probabilities(finished_run: Path) -> None:
    classifier = Classifier.load(finished_run / "students/cnn/int8")
    rows = classifier.predict_proba(TEXTS)
    assert rows.shape == (len(TEXTS), 2)
    assert np.allclose(rows.sum(axis=1), 1)
    scaled = classifier.logits(TEXTS).astype(float) / classifier.artifact.temperature
    assert np.allclose(np.log(rows[:, 1] / rows[:, 0]), scaled[:, 1] - scaled[:, 0], atol=1e-6)
    for prediction, row in zip(classifier.predict(TEXTS), rows, strict=True):
        assert prediction.confidence == row.max() == prediction.probabilities[prediction.label]
        assert list(prediction.probabilities) == list(classifier.labels) == ["bad", "good"]


def test_normalization_is_that_of_the_artifact(finished_run: Path) -> None:
    classifier = Classifier.load(finished_run / "students/half/fp32")
    assert classifier.artifact.text is not None
    assert classifier.artifact.text.normalize == ("html", "nfc")
    plain, marked = classifier.logits(["a lovely film"]), classifier.logits(["a<br />lovely   film"])
    assert plain.tobytes() == marked.tobytes()


def test_no_texts_no_rows(finished_run: Path) -> None:
    assert Classifier.load(finished_run / "students/cnn/fp32").predict([]) == []


def test_a_single_string_is_a_mistake(finished_run: Path) -> None:
    with pytest.raises(TypeError, match="predict takes a list of texts"):
        Classifier.load(finished_run / "students/cnn/fp32").predict("lovely")


@pytest.mark.parametrize("strange", [None, 3, b"lovely"])
def test_what_is_no_text_is_a_mistake(finished_run: Path, strange: object) -> None:
    with pytest.raises(TypeError, match=f"predict takes texts, got {strange!r}; leave it out"):
        Classifier.load(finished_run / "students/cnn/fp32").predict(["fine", strange])  # type: ignore[list-item]


def test_an_artifact_works_wherever_it_is_copied(finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run / "students/cnn/int8", tmp_path / "moved")
    here, there = Classifier.load(finished_run / "students/cnn/int8"), Classifier.load(tmp_path / "moved")
    assert here.logits(TEXTS).tobytes() == there.logits(TEXTS).tobytes()


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_changed_or_missing_file_is_refused(finished_run: Path, tmp_path: Path, name: str) -> None:
    home = tmp_path / "model"
    shutil.copytree(finished_run / "students/cnn/int8", home)
    content = bytearray((home / name).read_bytes())
    content[len(content) // 2] ^= 1
    (home / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{name} was changed after it was written"):
        Classifier.load(home)
    (home / name).unlink()
    with pytest.raises(ArtifactError, match=f"lacks {name}; copy the whole directory again or rerun its stage"):
        Classifier.load(home)


def test_labels_in_another_order_than_the_models_are_refused(finished_run: Path, tmp_path: Path) -> None:
    home = shutil.copytree(finished_run / "students/cnn/int8", tmp_path / "model")
    artifact = Artifact.load(home)
    assert artifact.task is not None
    artifact.rewrite(task=replace(artifact.task, labels=("good", "bad")))
    with pytest.raises(
        ArtifactError, match=r'the model answers \["bad", "good"\], the manifest says \["good", "bad"\]'
    ):
        Classifier.load(home)


def test_int8_says_when_it_was_calibrated_on_another_kind_of_cpu(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made_on = Artifact.load(finished_run / "students/cnn/int8").details["instruction_set"]
    other = ["avx2"] if has_vnni(made_on) else ["avx2", "avx512_vnni"]
    for here, said in ((made_on, False), (other, True)):
        monkeypatch.setattr("understudy.classifier.instruction_set", lambda here=here: here)
        Classifier.load(finished_run / "students/cnn/int8")
        Classifier.load(finished_run / "students/cnn/fp32")
        assert ["calibrated on a CPU with" in message for message in caplog.messages] == [True] * said


def test_a_trained_model_that_was_not_exported_is_refused(finished_run: Path) -> None:
    with pytest.raises(ArtifactError, match=r"holds no model.onnx; `understudy export` makes an ONNX artifact"):
        Classifier.load(finished_run / "teacher")


def test_megabytes_of_text_are_cut_before_they_are_tokenized(finished_run: Path) -> None:
    import time

    classifier = Classifier.load(finished_run / "students/half/int8", threads=1)
    classifier.predict(["warm"])
    begun = time.perf_counter()
    classifier.predict(["lovely film " * 1_000_000])
    assert time.perf_counter() - begun < 0.5
