"""distill: students of every kind from one teacher's soft labels, and twins that the teacher never reaches."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from architectures import save_encoder
from training_kit import Failing, PowerCutError, prepare_few
from understudy.artifact import Artifact
from understudy.config import (
    BiGRUStudent,
    BiLSTMStudent,
    CutStudent,
    DataConfig,
    GatedCNNStudent,
    LabelConfig,
    PretrainedStudent,
    StudentConfig,
    TaskConfig,
    TeacherConfig,
    TextCNNStudent,
    TransformerStudent,
)
from understudy.data.storing import read_split
from understudy.errors import ArtifactError, InputError, RecipeError
from understudy.files import sha256_of_file
from understudy.preparation import prepare
from understudy.soft_labels import read_labels
from understudy.soft_terms import SOFT_TERMS
from understudy.training import checkpoint, distill, label, networks, train, vocabulary
from understudy.training.networks import HubClassifier
from understudy.training.targets import teacher_targets

SHARED: dict[str, Any] = {
    "name": "s", "epochs": 1, "batch_size": 10, "learning_rate": 5e-3, "device": "cpu", "precision": "fp32",
}  # fmt: skip
WEIGHTS = "model.safetensors"


class Stage:
    """A teacher, its soft labels, the data, and a place for students."""

    def __init__(self, teacher: Path, home: Path, data: Path | None = None) -> None:
        self.teacher, self.home, self.count = teacher, home, 0
        self.data = data or prepare_few(home)
        self.labels = home / "labels"
        label(teacher, self.data, self.labels, LabelConfig(device="cpu"))

    def distill(self, config: StudentConfig, **changes: Any) -> Artifact:
        self.count += 1
        places = {"teacher": self.teacher, "labels": self.labels, "data": self.data}
        places |= {"out": self.home / f"student{self.count}"} | changes
        return distill(config=config, **places)


@pytest.fixture(scope="module")
def stage(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(finished_run / "teacher", tmp_path_factory.mktemp("stage"))


@pytest.fixture(scope="module")
def three(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Three labels, one of them rare, and a teacher that is often wrong: it is hardly trained."""
    home = tmp_path_factory.mktemp("three")
    pairs = [(text, "fair" if number % 5 == 0 else label) for number, (text, label) in enumerate(tiny.rows(90, seed=8))]
    tiny.write_csv(home / "train.csv", pairs)
    task = TaskConfig(name="mood", labels=["bad", "fair", "good"])
    prepare(task, DataConfig(train="train.csv", val_size=0.2), home / "data", home)
    config = TeacherConfig(
        model=str(encoder), epochs=1, learning_rate=1e-5, max_length=16, device="cpu", precision="fp32"
    )
    train(home / "data", home / "teacher", config)
    return Stage(home / "teacher", home, home / "data")


def cut(**changes: Any) -> CutStudent:
    return CutStudent(**SHARED | {"layers": 1} | changes)


def fresh(**changes: Any) -> TransformerStudent:
    return TransformerStudent(**SHARED | {"layers": 1, "width": 16, "heads": 2, "vocabulary": 100} | changes)


def cnn(**changes: Any) -> TextCNNStudent:
    return TextCNNStudent(**SHARED | {"width": 12, "filters": 4, "min_count": 1} | changes)


def lstm(**changes: Any) -> BiLSTMStudent:
    return BiLSTMStudent(**SHARED | {"width": 12, "units": 4, "min_count": 1} | changes)


def gru(**changes: Any) -> BiGRUStudent:
    return BiGRUStudent(**SHARED | {"width": 12, "units": 4, "min_count": 1} | changes)


def gated(**changes: Any) -> GatedCNNStudent:
    small = {"width": 12, "channels": 8, "kernel": 3, "min_count": 1}
    return GatedCNNStudent(**SHARED | small | changes)


def weights(artifact: Artifact) -> bytes:
    return (artifact.path / WEIGHTS).read_bytes()


def test_a_student_of_every_kind_is_what_its_config_says(stage: Stage, encoder: Path) -> None:
    pretrained = PretrainedStudent(**SHARED | {"model": str(encoder)})
    for config in (cut(), fresh(), cnn(), lstm(), gru(), gated(), pretrained):
        artifact = stage.distill(config)
        network = networks.load(artifact)
        assert artifact.details["kind"] == config.kind
        assert artifact.details["architecture"] == (
            "transformer" if config.kind in ("cut", "transformer", "pretrained") else config.kind
        )
        assert artifact.details["params"] == network.parameters
        assert (artifact.kind, artifact.stage) == ("model", "distill")
        assert artifact.text is not None and artifact.text.max_length == 16
        assert artifact.measurements["steps"] == 15  # 100 labelled and 50 other texts by tens
        (epoch,) = artifact.measurements["history"]
        assert epoch["loss"] == pytest.approx(0.8 * epoch["soft_loss"] + 0.2 * epoch["hard_loss"], rel=1e-5)
        if isinstance(network.module, HubClassifier):
            model: Any = network.module.model
            assert model.config.num_hidden_layers == (2 if config.kind == "pretrained" else 1)
            assert model.config.vocab_size == network.tokenizer.get_vocab_size()


def test_the_vocabulary_is_trimmed_where_that_is_asked(stage: Stage, encoder: Path) -> None:
    sizes = {}
    for trim in (True, False):
        for config in (
            cut(trim_vocabulary=trim),
            PretrainedStudent(**SHARED, model=str(encoder), trim_vocabulary=trim),
        ):
            sizes[config.kind, trim] = networks.load(stage.distill(config)).tokenizer.get_vocab_size()
    whole = networks.load(Artifact.load(stage.teacher)).tokenizer.get_vocab_size()
    assert sizes["cut", False] == sizes["pretrained", False] == whole
    assert max(sizes["cut", True], sizes["pretrained", True]) < whole


@pytest.mark.parametrize("make", [cnn, lstm, fresh])
def test_a_vocabulary_is_learnt_from_train_alone(stage: Stage, make: Any) -> None:
    words = networks.load(stage.distill(make(vocabulary=400))).tokenizer.get_vocab()
    assert {"film", "hotel"} <= words.keys()
    assert not [word for word in words if re.search("quok|wom|bat", word)]


@pytest.mark.parametrize(
    "config",
    [
        cut(dropout=0.2),
        cnn(teacher_embeddings=True),
        gru(tokens="teacher", teacher_embeddings=True),
        gated(tokens="teacher"),
        fresh(),
    ],
    ids=["cut", "textcnn", "bigru", "gated-cnn", "transformer"],
)
def test_no_knowledge_of_the_teacher_reaches_a_twin(stage: Stage, tmp_path: Path, config: StudentConfig) -> None:
    expected = stage.distill(config, use_teacher=False)
    labels, teacher = shutil.copytree(stage.labels, tmp_path / "l"), shutil.copytree(stage.teacher, tmp_path / "t")
    for shard in labels.glob("*.parquet"):
        shard.write_bytes(b"?" * shard.stat().st_size)
    tensors = load_file(teacher / WEIGHTS)
    save_file({name: torch.randn_like(tensor) for name, tensor in tensors.items()}, teacher / WEIGHTS, {"format": "pt"})
    twin = stage.distill(config, use_teacher=False, labels=labels, teacher=teacher)
    assert weights(twin) == weights(expected)
    assert weights(stage.distill(config)) != weights(expected)
    assert (twin.stage, "soft_loss" in twin.measurements["history"][0]) == ("train-without-teacher", False)


def test_a_twin_of_a_ready_teacher_says_that_it_is_none(finished_run: Path, tmp_path: Path) -> None:
    config = TeacherConfig(model=str(finished_run / "teacher"), train=False, max_length=16)
    train(finished_run / "data", tmp_path / "ready", config)
    ready = Stage(tmp_path / "ready", tmp_path)
    own = gru(tokens="teacher", teacher_embeddings=True), gru(tokens="teacher")
    for student, warned in [(cut(), True), (own[0], True), (own[1], False), (cnn(), False), (fresh(), False)]:
        twin = ready.distill(student, use_teacher=False)
        assert any("no fair twin" in warning for warning in twin.warnings) == warned, student
        assert not ready.distill(student).warnings


def test_a_teacher_whose_layers_differ_can_be_cut(finished_run: Path, tmp_path: Path) -> None:
    encoder = save_encoder("modernbert", tmp_path / "encoder")
    config = TeacherConfig(model=str(encoder), epochs=1, max_length=16, device="cpu", precision="fp32")
    train(finished_run / "data", tmp_path / "teacher", config)
    modern = Stage(tmp_path / "teacher", tmp_path)
    for use_teacher in (True, False):
        network = networks.load(modern.distill(cut(layers=[1, 3]), use_teacher=use_teacher))
        assert isinstance(network.module, HubClassifier)
        model: Any = network.module.model
        assert model.config.layer_types == ["sliding_attention", "full_attention"]


@pytest.mark.parametrize("config", [cnn(), cut()], ids=["textcnn", "cut"])
def test_no_text_without_a_label_reaches_a_twin(stage: Stage, tmp_path: Path, config: StudentConfig) -> None:
    """Their number alone does: it decides the steps."""
    other = Stage(stage.teacher, tmp_path, prepare_few(tmp_path, "numbat"))
    one, two = (read_split(place.data / "unlabeled.parquet", "unlabeled") for place in (stage, other))
    assert not set(one.texts) & set(two.texts)
    twins, students = ([place.distill(config, use_teacher=use) for place in (stage, other)] for use in (False, True))
    assert weights(twins[0]) == weights(twins[1])
    assert weights(students[0]) != weights(students[1])


@pytest.mark.parametrize("epochs", [2, 4])
def test_a_twin_has_the_same_budget_of_steps(stage: Stage, epochs: int) -> None:
    student, twin = (stage.distill(cnn(epochs=epochs), use_teacher=use) for use in (True, False))
    assert student.measurements["steps"] == twin.measurements["steps"] == epochs * 15
    assert len(twin.measurements["history"]) == 1.5 * epochs


def test_a_twin_without_labels_takes_the_steps_of_its_own_epochs(stage: Stage) -> None:
    twin = stage.distill(cnn(epochs=2), use_teacher=False, labels=None)
    assert (twin.measurements["steps"], len(twin.measurements["history"])) == (20, 2)
    assert "labels" not in twin.inputs
    with pytest.raises(RecipeError, match="a student learns from the teacher's labels: name the directory"):
        stage.distill(cnn(), labels=None)


def test_max_length_can_be_the_students_own(stage: Stage) -> None:
    short = stage.distill(cut(max_length=6))
    assert short.text is not None and short.text.max_length == 6
    assert weights(short) != weights(stage.distill(cut()))
    with pytest.raises(InputError) as error:
        stage.distill(cut(max_length=41))
    assert str(error.value) == "max_length 41 is more than the 40 positions of the model; lower it"


def test_the_kept_tokens_are_the_teachers_or_the_students_own(stage: Stage) -> None:
    theirs, own = stage.distill(cut(max_length=4)), stage.distill(cut(max_length=4, truncation="head_tail"))
    assert theirs.text is not None and own.text is not None
    assert (theirs.text.truncation, own.text.truncation) == ("head", "head_tail")
    assert weights(theirs) != weights(own)


@pytest.mark.parametrize("make", [cnn, lstm])
def test_word_embeddings_can_start_from_the_teachers(stage: Stage, make: Any) -> None:
    still = {"learning_rate": 1e-12, "weight_decay": 0.0}
    plain, started = (stage.distill(make(teacher_embeddings=on, **still)) for on in (False, True))
    teacher, student = networks.load(Artifact.load(stage.teacher)), networks.load(started)
    model: Any = teacher.module.model
    table = model.get_input_embeddings().weight.detach()
    start = vocabulary.embeddings_from_teacher(student.tokenizer, teacher.tokenizer, table, 12)
    found = student.module.get_parameter("embeddings.weight")
    torch.testing.assert_close(found.detach(), start, atol=1e-6, rtol=0)
    assert not torch.allclose(networks.load(plain).module.get_parameter("embeddings.weight"), start, atol=0.1)


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 5.0}, {"soft_weight": 0.1}, {"dropout": 0.4}, {"clip": 0.01}, {"weight_decay": 0.5},
        {"label_smoothing": 0.3},
    ],
)  # fmt: skip
def test_every_setting_changes_the_weights(stage: Stage, change: dict[str, Any]) -> None:
    assert weights(stage.distill(cnn(**change))) != weights(stage.distill(cnn()))


def test_label_smoothing_reaches_a_twin(stage: Stage) -> None:
    plain, smooth = (stage.distill(cnn(label_smoothing=share), use_teacher=False) for share in (0.0, 0.3))
    assert weights(plain) != weights(smooth)


def test_every_loss_gives_other_weights(three: Stage) -> None:
    configs = [cnn(loss=loss) for loss in SOFT_TERMS]
    configs += [cnn(loss="dkd", target_weight=0.5), cnn(loss="dkd", other_weight=8.0), cnn(loss="bce", temperature=5.0)]
    assert len({weights(three.distill(config)) for config in configs}) == len(configs) == 8


def test_class_weights_give_other_weights(three: Stage) -> None:
    for use_teacher in (True, False):
        configs = cnn(class_weights="balanced"), cnn()
        balanced, plain = (weights(three.distill(config, use_teacher=use_teacher)) for config in configs)
        assert balanced != plain


@pytest.mark.parametrize("loss", SOFT_TERMS)
def test_a_corrected_teacher_gives_other_weights(three: Stage, loss: Any) -> None:
    plain, right = (three.distill(cnn(loss=loss, correct_teacher=correct)) for correct in (False, True))
    assert weights(plain) != weights(right)


def test_targets_are_calibrated_and_corrected(three: Stage, stage: Stage, tmp_path: Path) -> None:
    labels = Artifact.load(shutil.copytree(three.labels, tmp_path / "labels")).rewrite(decision={"temperature": 4.0})
    texts = read_split(three.data / "train.parquet", "train")
    raw = read_labels(three.labels, "train", texts.ids)
    plain, right = (teacher_targets(labels, [texts], correct=correct) for correct in (False, True))
    np.testing.assert_allclose(plain, raw / 4, rtol=1e-6)
    assert 0.2 < (plain.argmax(axis=1) == texts.labels).mean() < 0.8
    assert np.array_equal(right.argmax(axis=1), texts.labels)
    parts = [read_split(stage.data / f"{name}.parquet", name) for name in ("train", "unlabeled")]
    both = teacher_targets(Artifact.load(stage.labels), parts, correct=False)
    temperature = Artifact.load(stage.labels).temperature
    for part, found in zip(parts, (both[:100], both[100:]), strict=True):
        np.testing.assert_allclose(found, read_labels(stage.labels, part.name, part.ids) / temperature, rtol=1e-5)


def test_decoupling_two_labels_is_refused(stage: Stage) -> None:
    with pytest.raises(RecipeError, match=r"^loss dkd needs three labels: with two there is nothing to decouple"):
        stage.distill(cnn(loss="dkd"))


SIZES: list[tuple[Any, dict[str, Any]]] = [
    *((gru, change) for change in ({"units": 6}, {"layers": 2}, {"vocabulary": 20}, {"pooling": "max_mean"})),
    *((gated, change) for change in ({"channels": 6}, {"kernel": 4}, {"blocks": 1}, {"pooling": "max_mean"})),
    (lstm, {"width": 10}),
    (lstm, {"min_count": 9}),
]


@pytest.mark.parametrize(("make", "change"), SIZES)
def test_every_size_of_a_word_network_is_taken(stage: Stage, make: Any, change: dict[str, Any]) -> None:
    module: Any = networks.load(stage.distill(make(**change))).module
    plain: Any = networks.load(stage.distill(make())).module
    ((name, value),) = change.items()
    if name == "min_count":
        assert module.config()["vocabulary"] < plain.config()["vocabulary"]
    else:
        assert module.config() == plain.config() | {name: value}


def test_the_calibration_temperature_softens_the_teacher(stage: Stage, tmp_path: Path) -> None:
    labels = shutil.copytree(stage.labels, tmp_path / "labels")
    Artifact.load(labels).rewrite(decision={"temperature": 7.0})
    assert weights(stage.distill(cnn(), labels=labels)) != weights(stage.distill(cnn()))


def test_logits_and_texts_meet_by_id(stage: Stage, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    labels = shutil.copytree(stage.labels, tmp_path / "labels")
    artifact, shard = Artifact.load(labels), labels / "train-00000.parquet"
    table = pq.read_table(shard)
    assert len(table) == 100
    pq.write_table(table.take(np.random.default_rng(0).permutation(100)), shard)
    artifact.rewrite(
        files=artifact.files | {shard.name: {"bytes": shard.stat().st_size, "sha256": sha256_of_file(shard)}}
    )
    assert weights(stage.distill(cnn(), labels=labels)) == weights(stage.distill(cnn()))


@pytest.mark.parametrize(
    "config",
    [fresh(epochs=2), cnn(epochs=2), lstm(epochs=2, layers=2), gated(epochs=2, tokens="teacher")],
    ids=["transformer", "textcnn", "bilstm", "gated-cnn"],
)
def test_a_killed_distillation_goes_on_to_equal_weights(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: StudentConfig
) -> None:
    monkeypatch.setattr(checkpoint.Checkpoints, "due", lambda self: True)
    expected = stage.distill(config)
    for steps in (9, 12):
        with pytest.raises(PowerCutError):
            stage.distill(config, out=tmp_path / "student", progress=Failing(steps))
        assert not (tmp_path / "student").exists()
    progress = Failing(10**6)
    found = stage.distill(config, out=tmp_path / "student", progress=progress)
    assert progress.resumed == 19
    assert weights(found) == weights(expected)
    assert found.measurements["history"] == expected.measurements["history"]
    assert not (tmp_path / "student" / "work").exists()


def test_labels_of_another_teacher_are_refused(stage: Stage, finished_run: Path) -> None:
    with pytest.raises(ArtifactError) as error:
        stage.distill(cnn(), labels=finished_run / "labels")
    assert str(error.value) == (
        f"{finished_run / 'labels'} was made by another teacher or of other data; run `understudy label` again"
    )


@pytest.mark.parametrize("kind", ["cut", "pretrained"])
@pytest.mark.parametrize("use_teacher", [True, False], ids=["student", "twin"])
def test_of_a_frozen_student_the_head_alone_learns(three: Stage, encoder: Path, kind: str, use_teacher: bool) -> None:
    given = {"layers": 1} if kind == "cut" else {"model": str(encoder)}
    config = {"cut": CutStudent, "pretrained": PretrainedStudent}[kind](
        **SHARED | given | {"trim_vocabulary": False, "freeze_encoder": True}
    )
    frozen = load_file(three.distill(config, use_teacher=use_teacher).path / WEIGHTS)
    free = load_file(
        three.distill(config.model_copy(update={"freeze_encoder": False}), use_teacher=use_teacher).path / WEIGHTS
    )
    start = load_file((three.teacher if kind == "cut" and use_teacher else encoder) / WEIGHTS)
    start = {name if name.startswith("bert.") else f"bert.{name}": tensor for name, tensor in start.items()}
    layers = [name for name in frozen if name.startswith("bert.") and name in start and "pooler" not in name]
    assert len(layers) > 10
    assert all(torch.equal(frozen[name], start[name]) for name in layers)
    assert not all(torch.equal(free[name], start[name]) for name in layers)
    assert "classifier.weight" not in start or not torch.equal(frozen["classifier.weight"], start["classifier.weight"])


def gold_stage_of(artifact: Artifact) -> dict[str, Any]:
    found: dict[str, Any] = artifact.measurements["gold_stage"]
    assert found["kept"] == (found["val_nll_after"] < found["val_nll_before"])
    return found


def test_a_second_stage_on_gold_labels_stays_if_validation_improves(stage: Stage) -> None:
    plain = stage.distill(cnn(learning_rate=1e-4))
    found = stage.distill(cnn(learning_rate=1e-4, gold_epochs=3, gold_learning_rate=5e-3))
    assert gold_stage_of(found)["kept"]
    assert weights(found) != weights(plain)
    history = found.measurements["history"]
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3, 4]
    assert history[:1] == plain.measurements["history"]
    assert "soft_loss" not in history[1]
    assert found.measurements["best_epoch"] > 1
    assert found.measurements["steps"] == 15 + 3 * 10  # the gold labels are those of the 100 texts of train


def test_a_second_stage_on_gold_labels_is_taken_back_if_validation_does_not_improve(three: Stage) -> None:
    config = {"epochs": 8, "soft_weight": 0.5}
    plain = three.distill(cnn(**config))
    found = three.distill(cnn(**config, gold_epochs=2, gold_learning_rate=2.0))
    assert not gold_stage_of(found)["kept"]
    assert weights(found) == weights(plain)
    assert found.measurements["best_epoch"] == plain.measurements["best_epoch"]
    assert len(found.measurements["history"]) == 10


def test_a_twin_has_the_steps_of_both_stages(stage: Stage) -> None:
    twin = stage.distill(cnn(gold_epochs=2), use_teacher=False)
    assert twin.measurements["steps"] == 20 + 2 * 10  # 15 steps of the first stage are 1.5 epochs of train
    assert "gold_stage" not in twin.measurements


def test_a_killed_second_stage_goes_on_to_equal_weights(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint.Checkpoints, "due", lambda self: True)
    config = cnn(learning_rate=1e-4, gold_epochs=3, gold_learning_rate=5e-3)
    expected = stage.distill(config)
    with pytest.raises(PowerCutError):
        stage.distill(config, out=tmp_path / "student", progress=Failing(15 + 12))
    found = stage.distill(config, out=tmp_path / "student")
    assert weights(found) == weights(expected)
    assert gold_stage_of(found) == gold_stage_of(expected)
