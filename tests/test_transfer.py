"""Hidden states and attention: stored once by label, matched by students over a layer map."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, normalizers
from transformers import AutoModelForSequenceClassification

from architectures import CONFIGS, save_encoder
from training_kit import Failing, PowerCutError, prepare_few
from understudy.artifact import Artifact
from understudy.config import (
    CutStudent,
    LabelConfig,
    PretrainedStudent,
    StudentConfig,
    TeacherConfig,
    TransformerStudent,
    load_recipe,
)
from understudy.data.storing import read_split
from understudy.errors import ArtifactError, InputError, RecipeError, UnderstudyError
from understudy.pipeline import plan
from understudy.progress import Silent
from understudy.soft_labels import read_labels
from understudy.tokenization import TextEncoder
from understudy.training import distill, label, loop, networks, train
from understudy.training.batches import pad
from understudy.training.layers import look, map_layers, opened
from understudy.training.shards import read_attention, read_hidden
from understudy.training.textcnn import TextCNN

SHARED: dict[str, Any] = {
    "name": "s", "epochs": 2, "batch_size": 10, "learning_rate": 5e-3, "device": "cpu", "precision": "fp32",
}  # fmt: skip
LAYERS = LabelConfig(shard_size=64, batch_size=16, device="cpu", hidden_states=True, attention=True)


class Stage:
    """A hardly trained teacher of two layers, its labels with and without its layers, and a place for students."""

    def __init__(self, encoder: Path, home: Path) -> None:
        self.home, self.count, self.encoder = home, 0, encoder
        self.data, self.teacher = prepare_few(home), home / "teacher"
        config = TeacherConfig(
            model=str(encoder), epochs=1, batch_size=10, learning_rate=5e-3, max_length=16, device="cpu",
            precision="fp32",
        )  # fmt: skip
        train(self.data, self.teacher, config)
        self.labels = label(self.teacher, self.data, home / "labels", LAYERS)
        self.plain = label(self.teacher, self.data, home / "plain", LabelConfig(shard_size=64, device="cpu"))

    def distill(self, config: StudentConfig, **changes: Any) -> Artifact:
        self.count += 1
        places = {"labels": self.labels.path, "out": self.home / f"student{self.count}"} | changes
        return distill(self.teacher, data=self.data, config=config, **places)


@pytest.fixture(scope="module")
def stage(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(encoder, tmp_path_factory.mktemp("transfer"))


def cut(**changes: Any) -> CutStudent:
    return CutStudent(**SHARED | {"layers": 1} | changes)


def fresh(**changes: Any) -> TransformerStudent:
    return TransformerStudent(**SHARED | {"layers": 1, "width": 16, "heads": 2, "vocabulary": 100} | changes)


def losses(artifact: Artifact, name: str) -> list[float]:
    return [epoch[name] for epoch in artifact.measurements["history"]]


# What label stores


def test_label_stores_the_layers_of_the_first_token_by_id(stage: Stage) -> None:
    network = networks.load(Artifact.load(stage.teacher))
    classifier = opened(network.module, attention=True)
    assert stage.labels.text is not None
    encoder = TextEncoder(network.tokenizer, stage.labels.text)
    for name in ("train", "unlabeled"):
        split = read_split(stage.data / f"{name}.parquet", name).take([40, 3, 7])
        hidden = read_hidden(stage.labels.path, name, split.ids, [1, 0], 32)
        attention = read_attention(stage.labels.path, name, split.ids, [1, 0], 2)
        for row, tokens in enumerate(encoder.encode(split.texts)):
            ids, mask = pad([tokens], network.pad_id)
            model: Any = network.module.model
            expected = model(ids, mask, output_hidden_states=True, output_attentions=True)
            for at, layer in enumerate((1, 0)):
                state = expected.hidden_states[layer + 1][0, 0].detach().numpy()
                np.testing.assert_allclose(hidden[row, at], state / np.linalg.norm(state), atol=1e-3)
                weights = expected.attentions[layer][0, :, 0].mean(dim=0).detach().numpy()
                assert attention[row].shape == (2, len(tokens))
                np.testing.assert_allclose(attention[row][at], weights, atol=1e-3)
            seen = look(classifier, ids, mask, hidden=True, attention=False)
            torch.testing.assert_close(seen.logits, expected.logits)
    assert stage.labels.details == {"layers": 2, "width": 32}


def test_logits_are_the_same_with_layers_and_their_size_is_said(stage: Stage) -> None:
    for name in ("train", "val", "unlabeled"):
        ids = read_split(stage.data / f"{name}.parquet", name).ids
        one, other = (read_labels(labels.path, name, ids) for labels in (stage.labels, stage.plain))
        np.testing.assert_allclose(one, other, atol=1e-5)
    said = stage.labels.measurements
    assert 0.8 * 150 * 2 * 2 * 32 < said["hidden_bytes"] < 1.5 * 150 * 2 * 2 * 32  # train and unlabelled, 2 layers
    assert 0 < said["attention_bytes"] < said["hidden_bytes"]
    assert "hidden_bytes" not in stage.plain.measurements
    assert stage.plain.config == {"shard_size": 64, "folds": 0}


@pytest.mark.parametrize("setting", ["hidden_states", "attention"])
def test_layers_are_stored_where_they_are_asked_for(stage: Stage, tmp_path: Path, setting: str) -> None:
    out = shutil.copytree(stage.plain.path, tmp_path / "labels")
    config = LabelConfig(shard_size=64, device="cpu", **{setting: True})
    made = label(stage.teacher, stage.data, out, config)
    assert [name for name in ("hidden_bytes", "attention_bytes") if name in made.measurements] == [
        {"hidden_states": "hidden_bytes", "attention": "attention_bytes"}[setting]
    ]
    ids = read_split(stage.data / "train.parquet", "train").ids
    same = np.array_equal(read_labels(out, "train", ids), read_labels(stage.plain.path, "train", ids))
    assert same or setting == "attention"  # which is computed another way
    before = {file: file.stat().st_mtime_ns for file in out.iterdir()}
    label(stage.teacher, stage.data, out, config, progress=Failing(1))
    assert {file: file.stat().st_mtime_ns for file in out.iterdir()} == before


def test_an_interrupted_labelling_goes_on_to_equal_layers(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(PowerCutError):
        label(stage.teacher, stage.data, tmp_path / "labels", LAYERS, progress=Failing(70))
    found = label(stage.teacher, stage.data, tmp_path / "labels", LAYERS)
    assert found.measurements["of_an_interrupted_run"] == 64
    assert found.digest == stage.labels.digest
    assert found.details == stage.labels.details


@pytest.mark.parametrize("architecture", CONFIGS)
def test_every_architecture_shows_its_layers(architecture: str, tmp_path: Path) -> None:
    encoder = save_encoder(architecture, tmp_path / "encoder")
    network = networks.load_pretrained(str(encoder), ["no", "yes"], 0.1, 1)
    module = network.module.eval()
    ids, mask = pad([np.array([2, 5, 9, 7, 3]), np.array([2, 6, 3])], network.pad_id)
    logits = module(ids, mask)
    answer = look(opened(module, attention=True), ids, mask, hidden=True, attention=True)
    layers = network.module.model.config.num_hidden_layers
    torch.testing.assert_close(answer.logits, logits)
    assert answer.hidden is not None and answer.attention is not None
    assert answer.hidden.shape == (2, layers, 32)
    assert answer.attention.shape == (2, layers, 5)
    torch.testing.assert_close(answer.attention.sum(dim=2), torch.ones(2, layers))
    assert not answer.attention[1, :, 3:].any()  # padding
    alone = look(opened(module, attention=True), ids[1:, :3], mask[1:, :3], hidden=True, attention=True)
    torch.testing.assert_close(alone.hidden, answer.hidden[1:], atol=1e-5, rtol=1e-4)


def test_a_run_stores_the_layers_that_its_students_ask_for(workshop: Path, finished_run: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished_run, tmp_path / "run")
    recipe: Any = load_recipe(workshop / "recipe.toml")
    students = [s.model_copy(update={"hidden_weight": 1.0}) if s.name == "half" else s for s in recipe.students]
    steps = {step.out: step for step in plan(recipe.model_copy(update={"students": students}), out, workshop, Silent())}
    made = steps["labels"].work()
    assert made is not None and made.measurements["hidden_bytes"] > 0 and "attention_bytes" not in made.measurements
    assert made.config == steps["labels"].settings
    student = steps["students/half/torch"].work()
    assert student is not None and "hidden_loss" in student.measurements["history"][0]


# The layer map


@pytest.mark.parametrize(
    ("wanted", "student", "teacher", "expected"),
    [
        ("uniform", 3, 6, [1, 3, 5]),
        ("uniform", 4, 6, [1, 2, 4, 5]),
        ("uniform", 1, 12, [11]),
        ("uniform", 6, 6, [0, 1, 2, 3, 4, 5]),
        ("uniform", 4, 2, [0, 0, 1, 1]),
        ("last", 3, 6, [3, 4, 5]),
        ([0, 0, 5], 3, 6, [0, 0, 5]),
    ],
)
def test_a_layer_map_names_a_layer_of_the_teacher_for_each_of_the_student(
    wanted: Any, student: int, teacher: int, expected: list[int]
) -> None:
    assert map_layers(wanted, student, teacher) == expected


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("last", "layer_map last: the student has 3 layers, the teacher 2; use uniform"),
        ([0, 1], "layer_map = [0, 1]: expected one layer of the teacher (0 to 1) for each of the student's 3"),
        ([0, 1, 2], "layer_map = [0, 1, 2]: expected one layer of the teacher (0 to 1) for each of the student's 3"),
        ([], "layer_map = []: expected one layer of the teacher (0 to 1) for each of the student's 3"),
    ],
)
def test_a_layer_map_that_does_not_fit_is_refused(wanted: Any, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        map_layers(wanted, 3, 2)
    assert str(error.value) == message


# Students


def test_a_student_comes_nearer_to_the_layers_that_it_is_to_match(stage: Stage) -> None:
    near = stage.distill(cut(epochs=6, dropout=0.0, hidden_weight=5.0, attention_weight=500.0))
    for name in ("hidden_loss", "attention_loss"):
        assert losses(near, name)[-1] < 0.6 * losses(near, name)[0]
    for epoch in near.measurements["history"]:
        expected = 0.8 * epoch["soft_loss"] + 0.2 * epoch["hard_loss"]
        expected += 5 * epoch["hidden_loss"] + 500 * epoch["attention_loss"]
        assert epoch["loss"] == pytest.approx(expected, rel=1e-5)


def test_every_setting_of_the_transfer_changes_the_weights(stage: Stage) -> None:
    settings: list[dict[str, Any]] = [
        {}, {"hidden_weight": 1.0}, {"hidden_weight": 2.0}, {"hidden_weight": 1.0, "layer_map": [0]},
        {"attention_weight": 1.0}, {"attention_weight": 2.0}, {"attention_weight": 1.0, "layer_map": [0]},
        {"hidden_weight": 1.0, "attention_weight": 1.0},
    ]  # fmt: skip
    made = [stage.distill(cut(epochs=1, **changes)) for changes in settings]
    assert len({artifact.digest for artifact in made}) == len(settings)
    twins = [
        stage.distill(cut(epochs=1, **changes), use_teacher=False).digest for changes in (settings[0], settings[-1])
    ]
    assert twins[0] == twins[1]


def test_a_learnt_projection_is_dropped_from_what_is_saved(stage: Stage) -> None:
    wide, narrow = cut(hidden_weight=1.0), fresh(hidden_weight=3.0)
    for config in (wide, narrow):
        made = stage.distill(config)
        model, report = AutoModelForSequenceClassification.from_pretrained(made.path, output_loading_info=True)
        assert not any(report.values())
        assert made.details["params"] == sum(parameter.numel() for parameter in model.parameters())
    assert losses(made, "hidden_loss")[-1] < losses(made, "hidden_loss")[0]
    assert made.digest != stage.distill(fresh()).digest


def test_a_pretrained_student_with_the_teachers_tokens_can_match_its_attention(stage: Stage) -> None:
    config = PretrainedStudent(**SHARED, model=str(stage.encoder), attention_weight=5.0, trim_vocabulary=True)
    history = losses(stage.distill(config), "attention_loss")
    assert history[-1] < history[0]


def test_a_pruned_student_goes_on_to_match_layers_while_it_recovers(stage: Stage) -> None:
    config = cut(hidden_weight=5.0, attention_weight=5.0, prune_heads=0.5, prune_units=0.5, recovery_epochs=1, epochs=1)
    pruned = stage.distill(config)
    assert len(losses(pruned, "hidden_loss")) == len(losses(pruned, "attention_loss")) == 2
    assert pruned.details["pruned"].keys() == {"heads", "units"}


def test_bf16_compares_layers_in_float32(stage: Stage) -> None:
    made = stage.distill(fresh(hidden_weight=1.0, precision="bf16", epochs=1))
    assert np.isfinite(losses(made, "hidden_loss")).all()
    assert losses(made, "hidden_loss") != losses(stage.distill(fresh(hidden_weight=1.0, epochs=1)), "hidden_loss")


def test_a_killed_transfer_goes_on_to_equal_weights(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop.checkpoint.Checkpoints, "due", lambda self: True)
    config = fresh(hidden_weight=1.0)
    expected = stage.distill(config)
    with pytest.raises(PowerCutError):
        stage.distill(config, out=tmp_path / "student", progress=Failing(18))
    progress = Failing(10**6)
    found = stage.distill(config, out=tmp_path / "student", progress=progress)
    assert progress.resumed == 17
    assert found.digest == expected.digest
    assert found.measurements["history"] == expected.measurements["history"]


# What is refused


def refusal(stage: Stage, config: StudentConfig, kind: type[UnderstudyError], **changes: Any) -> str:
    with pytest.raises(kind) as error:
        stage.distill(config, **changes)
    assert not (stage.home / f"student{stage.count}").exists()
    return str(error.value)


def test_layers_that_were_not_stored_are_named_with_the_command_that_stores_them(stage: Stage) -> None:
    plain = stage.plain.path
    assert refusal(stage, cut(hidden_weight=1.0), ArtifactError, labels=plain) == (
        f"{plain} lacks what hidden_weight needs; run `understudy label --hidden-states` again"
    )
    assert refusal(stage, cut(attention_weight=1.0), ArtifactError, labels=plain) == (
        f"{plain} lacks what attention_weight needs; run `understudy label --attention` again"
    )


def test_a_layer_map_is_checked_before_training(stage: Stage) -> None:
    message = refusal(stage, cut(hidden_weight=1.0, layer_map=[2]), RecipeError)
    assert message == "layer_map = [2]: expected one layer of the teacher (0 to 1) for each of the student's 1"


def test_attention_over_other_tokens_is_refused(stage: Stage, tmp_path: Path) -> None:
    other = save_encoder("roberta", tmp_path / "other")
    alike = shutil.copytree(stage.encoder, tmp_path / "alike")  # as many tokens, and not the same ones
    tokenizer = Tokenizer.from_file(str(alike / "tokenizer.json"))
    tokenizer.normalizer = normalizers.Sequence([tokenizer.normalizer, normalizers.Replace(" the ", " a ")])
    tokenizer.save(str(alike / "tokenizer.json"))
    for config in (
        PretrainedStudent(**SHARED, model=str(other), attention_weight=1.0),
        PretrainedStudent(**SHARED, model=str(alike), attention_weight=1.0),
        cut(attention_weight=1.0, max_length=8),
    ):
        assert refusal(stage, config, RecipeError) == (
            "attention_weight compares attention token by token, and this student does not read texts in the teacher's "
            "tokens: give it the teacher's tokenizer and max_length, or set attention_weight = 0"
        )
    stage.distill(cut(hidden_weight=1.0, max_length=8, epochs=1))  # states do not mind


def test_a_network_without_such_layers_is_refused() -> None:
    with pytest.raises(InputError, match=r"^hidden states and attention are those of a transformer, and [^\n]+$"):
        opened(TextCNN(9, 4, 2, [2], 2, 0.0), attention=False)
