"""label with folds: a text of train is labelled by a teacher that was trained without it, whatever interrupts."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from training_kit import Failing, PowerCutError, prepare_few
from understudy.artifact import Artifact
from understudy.config import LabelConfig, TeacherConfig, TextCNNStudent, load_recipe
from understudy.data.splitting import stratified_folds
from understudy.data.storing import read_split, write_split
from understudy.data.task import Split
from understudy.errors import ArtifactError
from understudy.estimating import estimate
from understudy.files import sha256_of_file
from understudy.pipeline import plan
from understudy.progress import Silent
from understudy.soft_labels import read_labels
from understudy.tokenization import TextEncoder
from understudy.training import checkpoint, distill, label, networks, train
from understudy.training.loop import infer

FOLDS = 3
CONFIG = LabelConfig(folds=FOLDS, shard_size=16, device="cpu")


class Recorder(Silent):
    """Remembers what was tracked, and how much of the first of it was there already."""

    def __init__(self) -> None:
        self.tracked: list[str] = []
        self.first = -1

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        def advance(units: int) -> None:
            self.first = units if self.first < 0 else self.first

        self.tracked.append(description)
        yield advance


class Stage:
    """Data, a teacher trained on it, and its labels out of fold and in sample."""

    def __init__(self, encoder: Path, home: Path) -> None:
        self.home, self.data, self.teacher = home, prepare_few(home), home / "teacher"
        self.config = TeacherConfig(
            model=str(encoder), epochs=2, batch_size=10, learning_rate=5e-3, max_length=16, device="cpu",
            precision="fp32",
        )  # fmt: skip
        train(self.data, self.teacher, self.config, seed=5)
        self.labels = label(self.teacher, self.data, home / "labels", CONFIG)
        self.in_sample = label(self.teacher, self.data, home / "plain", CONFIG.model_copy(update={"folds": 0}))

    def split(self, name: str) -> Split:
        return read_split(self.data / f"{name}.parquet", name)


@pytest.fixture(scope="module")
def stage(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(encoder, tmp_path_factory.mktemp("folds"))


def without(data: Path, rows: np.ndarray, out: Path) -> Path:
    """The data with these rows of train alone."""
    shutil.copytree(data, out)
    file, artifact = out / "train.parquet", Artifact.load(out)
    write_split(read_split(file, "train").take(rows), file)
    entry = {"bytes": file.stat().st_size, "sha256": sha256_of_file(file)}
    artifact.rewrite(files=artifact.files | {"train.parquet": entry})
    return out


def test_a_text_of_train_has_the_logits_of_a_teacher_trained_without_its_fold(stage: Stage, tmp_path: Path) -> None:
    texts = stage.split("train")
    fold = stratified_folds(texts.labels, FOLDS, seed=5)
    found = read_labels(stage.labels.path, "train", texts.ids)
    for number in range(FOLDS):
        data = without(stage.data, np.flatnonzero(fold != number), tmp_path / f"data{number}")
        teacher = train(data, tmp_path / f"teacher{number}", stage.config, seed=5)
        network = networks.load(teacher)
        assert teacher.text is not None
        tokens = TextEncoder(network.tokenizer, teacher.text).encode(texts.texts)
        expected = infer(network.module, tokens, network.pad_id, torch.device("cpu"))
        np.testing.assert_allclose(found[fold == number], expected[fold == number], atol=1e-5)
        assert np.abs(found[fold != number] - expected[fold != number]).max() > 0.01


def test_every_text_is_labelled_once_and_the_others_by_the_teacher_itself(stage: Stage) -> None:
    shards = stage.labels.path.glob("train-*.parquet")
    labelled = [example for shard in shards for example in pq.read_table(shard)["id"].to_pylist()]
    assert sorted(labelled) == sorted(stage.split("train").ids)
    for name in ("val", "unlabeled"):
        ids = stage.split(name).ids
        one, other = (read_labels(labels.path, name, ids) for labels in (stage.labels, stage.in_sample))
        assert np.array_equal(one, other)
    ids = stage.split("train").ids
    one, other = (read_labels(labels.path, "train", ids) for labels in (stage.labels, stage.in_sample))
    assert not np.isclose(one, other, atol=1e-3).all(axis=1).any()
    assert stage.labels.temperature == stage.in_sample.temperature
    assert stage.labels.measurements["teacher_calls"] == stage.in_sample.measurements["teacher_calls"] == 190
    confidence = [labels.measurements["confidence"] for labels in (stage.labels, stage.in_sample)]
    assert confidence[0]["val"] == confidence[1]["val"] and confidence[0]["train"] != confidence[1]["train"]
    assert {path.name.split("-")[0] for path in stage.labels.path.iterdir()} == {
        "artifact.json", "train", "val", "unlabeled"
    }  # fmt: skip


def test_folds_change_the_weights_of_a_student(stage: Stage, tmp_path: Path) -> None:
    config = TextCNNStudent(epochs=1, width=12, filters=4, min_count=1, device="cpu", precision="fp32")
    digests = {
        distill(stage.teacher, labels.path, stage.data, tmp_path / str(number), config).digest
        for number, labels in enumerate((stage.labels, stage.in_sample))
    }
    assert len(digests) == 2


EVERYTHING = [f"{work} fold {number}/3" for number in (1, 2, 3) for work in ("train without", "label")]
EVERYTHING += ["label with the teacher"]


@pytest.mark.parametrize(
    ("units", "done", "resumed"),
    [
        (5, 0, 4),  # in the training of the first fold, which goes on after 4 steps of 14
        (14 + 20, 1, 16),  # in its labelling: its trained teacher and a shard of 16 texts are taken up
        (48 + 7, 2, 6),  # in the training of the second
        (3 * 14 + 100 + 10, 6, 16),  # with the teacher itself, which begins anew
    ],
)
def test_an_interrupted_run_goes_on_to_equal_labels(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, units: int, done: int, resumed: int
) -> None:
    monkeypatch.setattr(checkpoint.Checkpoints, "due", lambda self: True)
    out = tmp_path / "labels"
    with pytest.raises(PowerCutError):
        label(stage.teacher, stage.data, out, CONFIG, progress=Failing(units))
    assert not out.exists()
    recorder = Recorder()
    found = label(stage.teacher, stage.data, out, CONFIG, progress=recorder)
    assert recorder.tracked == EVERYTHING[done:]
    assert recorder.first == resumed
    assert found.files == stage.labels.files
    assert (found.decision, found.digest) == (stage.labels.decision, stage.labels.digest)
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]


def test_a_second_run_does_nothing_and_another_training_counts(stage: Stage, tmp_path: Path) -> None:
    out = shutil.copytree(stage.labels.path, tmp_path / "labels")
    recorder = Recorder()
    label(stage.teacher, stage.data, out, CONFIG, progress=recorder)
    label(stage.teacher, stage.data, out, CONFIG.model_copy(update={"batch_size": 7}), progress=recorder)
    assert recorder.tracked == []
    teacher = shutil.copytree(stage.teacher, tmp_path / "teacher")
    same = Artifact.load(teacher)
    same.rewrite(config=same.config | {"epochs": 1}, key="of another training that ended at the same weights")
    label(teacher, stage.data, out, CONFIG, progress=recorder)
    assert len(recorder.tracked) == 2 * FOLDS + 1
    ids = stage.split("train").ids
    assert not np.array_equal(read_labels(out, "train", ids), read_labels(stage.labels.path, "train", ids))


def test_a_teacher_that_cannot_be_trained_again_is_refused(stage: Stage, encoder: Path, tmp_path: Path) -> None:
    def refusal(teacher: Path, data: Path = stage.data, folds: int = FOLDS) -> str:
        with pytest.raises(ArtifactError) as error:
            label(teacher, data, tmp_path / "labels", CONFIG.model_copy(update={"folds": folds}))
        assert not (tmp_path / "labels").exists()
        return str(error.value)

    ready = TeacherConfig(model=str(stage.teacher), train=False, max_length=16)
    train(stage.data, tmp_path / "ready", ready)
    assert refusal(tmp_path / "ready") == (
        f"{tmp_path / 'ready'} was not trained here, so folds cannot train it again; set folds = 0"
    )
    other = without(stage.data, np.arange(50), tmp_path / "data")
    assert refusal(stage.teacher, other) == (
        f"{stage.teacher} was trained on other data than {other}, or {encoder} has changed; run `understudy train` "
        "again, or set folds = 0"
    )
    moved = shutil.copytree(stage.teacher, tmp_path / "moved")
    artifact = Artifact.load(moved)
    artifact.rewrite(inputs=artifact.inputs | {"model": "of other weights"})
    assert "or set folds = 0" in refusal(moved)
    assert refusal(stage.teacher, folds=101) == "train has 100 texts, which cannot be cut into 101 parts; lower folds"


def test_the_pipeline_labels_out_of_fold_and_the_dry_run_knows(
    workshop: Path, finished_run: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(finished_run, tmp_path / "run")
    recipe: Any = load_recipe(workshop / "recipe.toml")
    recipe = recipe.model_copy(update={"label": recipe.label.model_copy(update={"folds": 2})})
    step = next(step for step in plan(recipe, out, workshop, Silent()) if step.out == "labels")
    made = step.work()
    assert made is not None and made.config["folds"] == 2
    assert made.digest != Artifact.load(finished_run / "labels").digest
    assert ("labels", True) in estimate(recipe, out, workshop).steps
