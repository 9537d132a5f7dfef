"""train: a fine-tuned teacher, or a ready classifier taken as it is, in the task's order of labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from training_kit import prepare_few
from understudy.artifact import MANIFEST, Artifact, TextConfig
from understudy.config import TeacherConfig
from understudy.data.task import Split
from understudy.errors import ArtifactError, InputError
from understudy.tokenization import TextEncoder
from understudy.training import networks, surgery, train
from understudy.training.checkpoint import Checkpoints
from understudy.training.finetuning import class_weights
from understudy.training.loop import infer

TEXTS = ["a film so lovely", "the dreadful hotel", "this book is not poor", "it"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_few(tmp_path_factory.mktemp("few"))


@pytest.fixture(scope="module")
def foreign(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The teacher as a hub classifier of another hand: outputs in the other order, other names."""
    network = networks.load(Artifact.load(finished_run / "teacher"))
    surgery.regroup_outputs(network.module.model, [[1], [0]], ["Good", "neg"])
    home = tmp_path_factory.mktemp("foreign")
    networks.save(network, home)
    return home


def tune(data: Path, out: Path, encoder: Path, **changes: Any) -> Artifact:
    settings: dict[str, Any] = {
        "model": str(encoder), "max_length": 16, "epochs": 1, "learning_rate": 5e-3, "device": "cpu",
        "precision": "fp32",
    }  # fmt: skip
    return train(data, out, TeacherConfig(**settings | changes))


def logits(artifact: Artifact) -> np.ndarray:
    network = networks.load(artifact)
    tokens = TextEncoder(network.tokenizer, TextConfig((), 16)).encode(TEXTS)
    return infer(network.module, tokens, network.pad_id, torch.device("cpu"))


def test_a_ready_classifier_answers_in_the_tasks_order(
    data: Path, foreign: Path, finished_run: Path, tmp_path: Path
) -> None:
    config = TeacherConfig(model=str(foreign), train=False, label_map={"neg": "bad"}, max_length=16)
    artifact = train(data, tmp_path / "teacher", config)
    np.testing.assert_array_equal(logits(artifact), logits(Artifact.load(finished_run / "teacher")))
    model: Any = networks.load(artifact).module.model
    assert model.config.id2label == {0: "bad", 1: "good"}
    assert artifact.task is not None and artifact.task.labels == ("bad", "good")
    assert "history" not in artifact.measurements


def test_a_ready_classifier_with_other_labels_is_refused(data: Path, foreign: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as error:
        train(data, tmp_path / "teacher", TeacherConfig(model=str(foreign), train=False, max_length=16))
    assert str(error.value) == (
        "the classifier's labels do not fit the task's: missing: 'bad'; extra: 'neg'; got 'Good', 'neg', expected "
        "'bad', 'good'; set label_map to give each of the classifier's labels one of the task's"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("positive", ["good", "bad"])
def test_a_sigmoid_classifier_is_one_of_two_labels(data: Path, encoder: Path, tmp_path: Path, positive: str) -> None:
    torch.manual_seed(0)
    model: Any = AutoModelForSequenceClassification.from_pretrained(encoder, id2label={0: "Spam"}, label2id={"Spam": 0})
    model.classifier.weight.data.mul_(100)  # logits that differ
    tokenizer = networks.load_pretrained(str(encoder), ["x", "y"], 0.0, 0).tokenizer
    one = networks.Network(networks.HubClassifier(model.eval()), tokenizer, 0, "transformer")
    (tmp_path / "one").mkdir()
    networks.save(one, tmp_path / "one")
    tokens = TextEncoder(tokenizer, TextConfig((), 16)).encode(TEXTS)
    logit = infer(one.module, tokens, 0, torch.device("cpu"))
    names = {"Spam": positive, "not Spam": "bad" if positive == "good" else "good"}
    config = TeacherConfig(model=str(tmp_path / "one"), train=False, label_map=names, max_length=16)
    artifact = train(data, tmp_path / "teacher", config)
    both = [logit, np.zeros_like(logit)] if positive == "bad" else [np.zeros_like(logit), logit]
    np.testing.assert_allclose(logits(artifact), np.concatenate(both, axis=1), rtol=1e-5)
    ready: Any = networks.load(artifact).module.model
    assert ready.config.id2label == {0: "bad", 1: "good"}


def test_a_multi_label_classifier_is_refused(data: Path, foreign: Path, tmp_path: Path) -> None:
    home = shutil.copytree(foreign, tmp_path / "foreign")
    config = json.loads((home / "config.json").read_text(encoding="utf-8"))
    config["problem_type"] = "multi_label_classification"
    (home / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match="gives a text any number of labels"):
        train(data, tmp_path / "out" / "teacher", TeacherConfig(model=str(home), train=False, max_length=16))
    assert not (tmp_path / "out" / "teacher").exists()


@pytest.mark.parametrize("ready", [True, False])
def test_max_length_is_checked_before_any_work(
    data: Path, foreign: Path, encoder: Path, tmp_path: Path, ready: bool
) -> None:
    with pytest.raises(InputError) as error:
        if ready:
            config = TeacherConfig(model=str(foreign), train=False, label_map={"neg": "bad"}, max_length=64)
            train(data, tmp_path / "teacher", config)
        else:
            tune(data, tmp_path / "teacher", encoder, max_length=64)
    assert str(error.value) == "max_length 64 is more than the 40 positions of the model; lower it"


def test_the_tokens_of_both_ends_are_another_training_and_remembered(data: Path, encoder: Path, tmp_path: Path) -> None:
    head = tune(data, tmp_path / "head", encoder, max_length=4)
    ends = tune(data, tmp_path / "ends", encoder, max_length=4, truncation="head_tail")
    assert head.text is not None and ends.text is not None
    assert (head.text.truncation, ends.text.truncation) == ("head", "head_tail")
    assert head.digest != ends.digest
    assert head.files["model.safetensors"] != ends.files["model.safetensors"]
    assert "truncation" not in head.config  # so that what older runs made stays theirs
    assert "truncation" not in json.loads((head.path / MANIFEST).read_text())["text"]


def test_attention_weights_are_dropped_only_where_that_is_wanted(data: Path, encoder: Path, tmp_path: Path) -> None:
    network = networks.load_pretrained(str(encoder), ["bad", "good"], 0.1, 13, attention_dropout=False)
    rates = {name: layer.p for name, layer in network.module.named_modules() if isinstance(layer, torch.nn.Dropout)}
    of_attention = {rate for name, rate in rates.items() if ".attention.self." in name}
    others = {rate for name, rate in rates.items() if ".attention.self." not in name}
    assert (of_attention, others) == ({0.0}, {0.1})
    dropped = tune(data, tmp_path / "dropped", encoder)
    kept = tune(data, tmp_path / "kept", encoder, attention_dropout=False)
    assert dropped.files["model.safetensors"] != kept.files["model.safetensors"]
    assert "attention_dropout" not in dropped.config  # so that what older runs made stays theirs


def test_two_trainings_agree_and_another_seed_does_not(data: Path, encoder: Path, tmp_path: Path) -> None:
    one, other = (tune(data, tmp_path / name, encoder) for name in ("one", "other"))
    assert one.digest == other.digest
    config = TeacherConfig(**one.config)
    assert train(data, tmp_path / "third", config, seed=14).digest != one.digest


def test_a_frozen_encoder_is_the_pretrained_one(data: Path, encoder: Path, tmp_path: Path) -> None:
    tune(data, tmp_path / "teacher", encoder, freeze_encoder=True)
    before, after = load_file(encoder / "model.safetensors"), load_file(tmp_path / "teacher" / "model.safetensors")
    assert all(torch.equal(after[f"bert.{name}"], tensor) for name, tensor in before.items() if "pooler" not in name)
    fresh = networks.load_pretrained(str(encoder), ["bad", "good"], 0.1, 13).module.state_dict()
    assert not torch.equal(after["classifier.weight"], fresh["model.classifier.weight"])


def test_label_smoothing_gives_another_teacher(data: Path, encoder: Path, tmp_path: Path) -> None:
    plain, smooth = (tune(data, tmp_path / str(share), encoder, label_smoothing=share) for share in (0.0, 0.3))
    assert plain.digest != smooth.digest
    losses = [artifact.measurements["history"][0]["loss"] for artifact in (plain, smooth)]
    assert losses[0] != losses[1]


def test_a_finished_teacher_is_not_trained_again(data: Path, encoder: Path, tmp_path: Path) -> None:
    first = tune(data, tmp_path / "teacher", encoder)
    stamp = (tmp_path / "teacher" / "artifact.json").stat().st_mtime_ns
    tune(data, tmp_path / "teacher", encoder)
    assert (tmp_path / "teacher" / "artifact.json").stat().st_mtime_ns == stamp
    assert tune(data, tmp_path / "teacher", encoder, learning_rate=1e-3).digest != first.digest


def test_a_model_that_changed_in_its_place_is_another_model(data: Path, encoder: Path, tmp_path: Path) -> None:
    home = shutil.copytree(encoder, tmp_path / "encoder")
    first = tune(data, tmp_path / "teacher", home)
    weights = load_file(home / "model.safetensors")
    save_file({name: 2 * tensor for name, tensor in weights.items()}, home / "model.safetensors", {"format": "pt"})
    assert tune(data, tmp_path / "teacher", home).digest != first.digest


def test_class_weights_are_those_of_the_training_split() -> None:
    split = Split("train", list("abcd"), list("abcd"), np.array([0, 0, 0, 1]))
    assert class_weights(TeacherConfig(), split, 2) is None
    balanced = class_weights(TeacherConfig(class_weights="balanced"), split, 2)
    assert balanced is not None
    assert balanced.tolist() == pytest.approx([4 / 6, 2.0])


def test_every_epoch_is_kept_on_request_as_a_model_of_its_own(data: Path, encoder: Path, tmp_path: Path) -> None:
    made = tune(data, tmp_path / "kept", encoder, epochs=2, keep_epochs=True)
    first, second = (Artifact.load(tmp_path / "kept" / "epochs" / n, "model", verify=True) for n in "12")
    assert not np.array_equal(logits(first), logits(second))
    best = (first, second)[made.measurements["best_epoch"] - 1]
    assert np.array_equal(logits(made), logits(best))
    assert not (tune(data, tmp_path / "plain", encoder, epochs=2).path / "epochs").exists()


def test_epochs_are_kept_across_a_kill(data: Path, encoder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """Killed between the copy of an epoch and the checkpoint after it, the copy is found and the rest is made."""
    save, calls = Checkpoints.save, []

    def cut(self: Checkpoints, state: dict[str, Any], best: Any) -> None:
        calls.append(state["epochs_done"])
        if calls == [1]:
            raise KeyboardInterrupt
        save(self, state, best)

    monkeypatch.setattr(Checkpoints, "save", cut)
    with pytest.raises(KeyboardInterrupt):
        tune(data, tmp_path / "model", encoder, epochs=2, keep_epochs=True)
    made = tune(data, tmp_path / "model", encoder, epochs=2, keep_epochs=True)
    whole = tune(data, tmp_path / "whole", encoder, epochs=2, keep_epochs=True)
    assert sorted(made.files) == sorted(whole.files)
    for number in "12":
        kept, undisturbed = (Artifact.load(home.path / "epochs" / number) for home in (made, whole))
        assert np.array_equal(logits(kept), logits(undisturbed))
