"""Structured pruning: what leaves, what stays, what is refused, and what the recovery does."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

import tiny
from architectures import save_encoder
from training_kit import CPU, Failing, PowerCutError, examples, prepare_few
from understudy import Classifier
from understudy.artifact import Artifact, TextConfig
from understudy.config import (
    STUDENT_KINDS,
    CutStudent,
    ExportConfig,
    LabelConfig,
    PretrainedStudent,
    QuantizeConfig,
    TeacherConfig,
)
from understudy.data.storing import read_split
from understudy.distill_settings import FilterPruningConfig, PruningConfig
from understudy.errors import InputError, RecipeError
from understudy.quantization import quantize
from understudy.tokenization import TextEncoder
from understudy.training import checkpoint, distill, export, label, loop, narrowing, networks, pruning, train
from understudy.training.losses import supervised
from understudy.training.networks import HubClassifier, Network
from understudy.training.textcnn import TextCNN

SHARED: dict[str, Any] = {
    "name": "s", "epochs": 2, "batch_size": 10, "learning_rate": 5e-3, "device": "cpu", "precision": "fp32",
}  # fmt: skip
PRUNABLE = ("bert", "roberta", "xlm-roberta", "electra", "distilbert", "deberta-v2")
TEXTS = [text for text, _ in tiny.rows(12, seed=3)]


def load(home: Path, architecture: str = "bert") -> Network:
    network = networks.load_pretrained(str(save_encoder(architecture, home / architecture)), tiny.LABELS, 0.0, 0)
    for parameter in network.module.parameters():
        parameter.data.mul_(2)  # logits that differ
    return network


def logits(network: Network, module: Any = None) -> np.ndarray:
    tokens = TextEncoder(network.tokenizer, TextConfig((), 24)).encode(TEXTS)
    return loop.infer(module or network.module, tokens, network.pad_id, CPU)


class Stage:
    def __init__(self, teacher: Path, home: Path) -> None:
        self.home, self.data, self.labels, self.teacher = home, prepare_few(home), home / "labels", teacher
        label(teacher, self.data, self.labels, LabelConfig(device="cpu"))

    def distill(self, name: str, use_teacher: bool = True, progress: Any = None, **settings: Any) -> Artifact:
        config = CutStudent(**SHARED | {"layers": 2} | settings)
        places = (self.teacher, self.labels, self.data, self.home / name)
        return distill(*places, config, use_teacher=use_teacher, progress=progress)


@pytest.fixture(scope="module")
def stage(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(finished_run / "teacher", tmp_path_factory.mktemp("stage"))


@pytest.fixture(scope="module")
def pruned(stage: Stage) -> Artifact:
    return stage.distill("pruned", prune_heads=0.5, prune_units=0.5, recovery_epochs=3)


@pytest.mark.parametrize("name", PRUNABLE)
@pytest.mark.parametrize("what", ["heads", "units"])
def test_what_is_removed_is_gone_and_the_rest_answers_as_before(tmp_path: Path, name: str, what: str) -> None:
    network = load(tmp_path, name)
    module: Any = copy.deepcopy(network.module)
    parts = narrowing.groups(module.model, what)
    kept = [[1], [0]] if what == "heads" else [range(1, 64, 3), range(0, 63, 3)]
    narrowing.remove(module.model, parts, kept)
    silenced = narrowing.groups(network.module.model, what)
    with narrowing._silenced(silenced, kept):
        np.testing.assert_allclose(logits(network, module), logits(network), atol=1e-5)
    assert not np.allclose(logits(network, module), logits(network), atol=1e-4)
    inner = 2 * 32 * 16 if what == "heads" else 2 * 32 * (64 - 21)  # per layer: rows and columns of 32
    assert sum(p.numel() for p in network.module.parameters()) - sum(p.numel() for p in module.parameters()) > 2 * inner


@pytest.mark.parametrize("name", PRUNABLE)
def test_a_pruned_student_survives_the_disk(tmp_path: Path, name: str) -> None:
    network = load(tmp_path, name)
    module: Any = network.module
    for what, kept in (("heads", [[1], [0]]), ("units", [range(9), range(9)])):
        narrowing.remove(module.model, narrowing.groups(module.model, what), kept)
    networks.save(network, tmp_path)
    opened = HubClassifier(narrowing.open_classifier(tmp_path)).eval()
    np.testing.assert_array_equal(logits(network, opened), logits(network))
    with pytest.raises(RuntimeError, match="mismatch"):  # and not an attention that is drawn at random
        AutoModelForSequenceClassification.from_pretrained(tmp_path)
    for load_it in (lambda: networks.load_pretrained(str(tmp_path), tiny.LABELS, 0.0, 0),
                    lambda: networks.load_classifier(str(tmp_path))):  # fmt: skip
        with pytest.raises(InputError, match="has lost heads to prune_heads and cannot be trained on; give another"):
            load_it()


@pytest.mark.parametrize(
    ("name", "what"),
    [("mpnet", "heads"), ("modernbert", "heads"), ("modernbert", "units")],
)
def test_what_cannot_be_pruned_is_refused(tmp_path: Path, name: str, what: str) -> None:
    network = load(tmp_path, name)
    model: Any = network.module.model  # type: ignore[union-attr]
    before = {key: tensor.shape for key, tensor in model.state_dict().items()}
    with pytest.raises(RecipeError) as error:
        pruning.plan_removal(network.module, PruningConfig(**{f"prune_{what}": 0.5}))
    assert str(error.value) == f"{what} cannot be pruned from {type(model).__name__}: set prune_{what} = 0"
    assert {key: tensor.shape for key, tensor in model.state_dict().items()} == before


def test_layers_that_are_one_cannot_be_pruned(tmp_path: Path) -> None:
    module: Any = load(tmp_path, "albert").module
    with pytest.raises(RecipeError, match="AlbertForSequenceClassification has no list of 2 layers"):
        pruning.plan_removal(module, PruningConfig(prune_units=0.5))


def test_a_share_that_removes_nothing_is_refused(tmp_path: Path) -> None:
    module: Any = load(tmp_path).module
    with pytest.raises(RecipeError) as error:
        pruning.plan_removal(module, PruningConfig(prune_heads=0.2))
    assert str(error.value) == "prune_heads = 0.2 removes none of a layer's 2 heads; raise it"
    assert pruning.plan_removal(module, PruningConfig(prune_heads=0.9, prune_units=0.25)) == {
        "heads": {"kept": 1, "of": 2}, "units": {"kept": 48, "of": 64},
    }  # fmt: skip


def test_importance_is_what_an_absence_does_to_the_loss(tmp_path: Path) -> None:
    """The first-order estimate ranks the units as leaving them out one by one does."""
    network, data = load(tmp_path), examples(8, seed=4)
    module: Any = network.module.eval()
    objective = supervised()
    (first, _) = parts = narrowing.groups(module.model, "units")
    found = pruning.importance(module, parts, data, objective, 8, network.pad_id, CPU)
    assert [score.shape for score in found] == [(64,), (64,)]
    truth = np.zeros(64)
    everything = [range(64)] * 2
    for row in range(8):
        one = loop.collate(data, np.array([row]), network.pad_id, CPU)
        with torch.no_grad():
            whole = float(objective(module(one.ids, one.mask), one)[0])
            for unit in range(64):
                with narrowing._silenced(parts, [[u for u in everything[0] if u != unit], everything[1]]):
                    truth[unit] += abs(float(objective(module(one.ids, one.mask), one)[0]) - whole)
    assert np.corrcoef(found[0], truth)[0, 1] > 0.98
    np.testing.assert_allclose(found[0].sum(), truth.sum(), rtol=0.1)
    alone = pruning.importance(module, [first], data, objective, 5, network.pad_id, CPU)
    np.testing.assert_allclose(alone[0], found[0], rtol=1e-4)  # whatever the batches


def test_the_least_important_leave(tmp_path: Path) -> None:
    network, data = load(tmp_path), examples(24, seed=4)
    module: Any = network.module
    config = PruningConfig(prune_heads=0.5, prune_units=0.5, device="cpu")
    plan = pruning.plan_removal(module, config)
    parts = narrowing.groups(module.model, "units")
    scores = pruning.importance(module.eval(), parts, data, supervised(), 8, network.pad_id, CPU)
    before = [part.makers[0].weight.detach().clone() for part in parts]
    pruning.prune(module, plan, data, supervised(), config, pad_id=network.pad_id, seed=0)
    for part, score, weight in zip(narrowing.groups(module.model, "units"), scores, before, strict=True):
        best = np.sort(np.argsort(-score)[:32])
        assert torch.equal(part.makers[0].weight, weight[best.tolist()])


def test_a_pruned_student_is_smaller_and_has_recovered(stage: Stage, pruned: Artifact) -> None:
    whole = stage.distill("whole")
    assert pruned.details["pruned"] == {"heads": {"kept": 1, "of": 2}, "units": {"kept": 32, "of": 64}}
    lost = 2 * (4 * 32 * 16 + 3 * 16 + 2 * 32 * 32 + 32)
    assert whole.details["params"] - pruned.details["params"] == lost
    assert whole.files["model.safetensors"]["bytes"] - pruned.files["model.safetensors"]["bytes"] > 3.9 * lost
    history = pruned.measurements["history"]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5]
    assert history[:2] == whole.measurements["history"]  # until then it is the same training
    assert 2 < pruned.measurements["best_epoch"] <= 5  # what was never so small is not its best
    assert pruned.measurements["steps"] == 75
    scores = loop.validate(_answers(pruned, stage), _val(stage).labels)
    assert scores["nll"] == pytest.approx(history[pruned.measurements["best_epoch"] - 1]["val_nll"], rel=1e-4)


def _val(stage: Stage) -> Any:
    return read_split(stage.data / "val.parquet", "val")


def _answers(artifact: Artifact, stage: Stage) -> np.ndarray:
    network = networks.load(artifact)
    assert artifact.text is not None
    tokens = TextEncoder(network.tokenizer, artifact.text).encode(_val(stage).texts)
    return loop.infer(network.module, tokens, network.pad_id, CPU)


def test_what_was_pruned_stays_pruned_to_the_shipped_file(stage: Stage, pruned: Artifact, tmp_path: Path) -> None:
    made = export(pruned.path, stage.data, tmp_path / "fp32", ExportConfig())
    quantize(made.path, stage.data, tmp_path / "int8", QuantizeConfig(samples=32))
    expected, texts = _answers(pruned, stage), _val(stage).texts
    np.testing.assert_allclose(Classifier.load(made.path).logits(texts), expected, atol=1e-4)
    agreed = (Classifier.load(tmp_path / "int8").logits(texts).argmax(axis=1) == expected.argmax(axis=1)).mean()
    assert agreed > 0.9
    assert made.files["model.onnx"]["bytes"] < 5 * pruned.details["params"] + 60_000


def test_without_its_units_alone_transformers_opens_it(stage: Stage) -> None:
    made = stage.distill("units", prune_units=0.75)
    model = AutoModelForSequenceClassification.from_pretrained(made.path)
    assert model.config.intermediate_size == 16
    assert len(made.measurements["history"]) == 4


@pytest.mark.parametrize("change", [{"prune_heads": 0.0}, {"prune_units": 0.25}, {"recovery_epochs": 1}])
def test_every_setting_of_pruning_changes_the_weights(stage: Stage, pruned: Artifact, change: dict[str, Any]) -> None:
    settings = {"prune_heads": 0.5, "prune_units": 0.5, "recovery_epochs": 3} | change
    made = stage.distill(f"changed-{next(iter(change))}", **settings)
    assert made.files["model.safetensors"]["sha256"] != pruned.files["model.safetensors"]["sha256"]


FRESH: dict[str, dict[str, Any]] = {
    "textcnn": {"width": 16, "filters": 8, "min_count": 1},
    "transformer": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 120},
}


@pytest.mark.parametrize(
    ("kind", "settings", "kept", "lost"),
    [
        ("textcnn", {"prune_filters": 0.75}, {"filters": {"kept": 2, "of": 8}}, 6 * (12 * 16 + 3 + 2 * 3)),
        ("transformer", {"prune_units": 0.5}, {"units": {"kept": 32, "of": 64}}, 32 * (2 * 16 + 1)),
    ],
)
def test_a_student_from_scratch_is_pruned_to_the_shipped_file(
    stage: Stage, tmp_path: Path, kind: str, settings: dict[str, Any], kept: dict[str, Any], lost: int
) -> None:
    def made(name: str, **settings: Any) -> Artifact:
        config = STUDENT_KINDS[kind](**SHARED | FRESH[kind] | settings)
        return distill(stage.teacher, stage.labels, stage.data, tmp_path / name, config)  # type: ignore[arg-type]

    whole, pruned = made("whole"), made("pruned", recovery_epochs=1, **settings)
    assert pruned.details["pruned"] == kept
    assert whole.details["params"] - pruned.details["params"] == lost
    assert [len(each.measurements["history"]) for each in (whole, pruned)] == [2, 3]
    files = [
        export(each.path, stage.data, tmp_path / "onnx" / each.path.name, ExportConfig()) for each in (whole, pruned)
    ]
    sizes = [file.files["model.onnx"]["bytes"] for file in files]
    assert sizes[0] - sizes[1] > 3.9 * lost
    np.testing.assert_allclose(
        Classifier.load(files[1].path).logits(_val(stage).texts), _answers(pruned, stage), atol=1e-4
    )


def test_the_least_important_filters_of_each_kernel_size_leave() -> None:
    torch.manual_seed(0)
    module, data = TextCNN(12, 6, 5, [2, 3], 2).eval(), examples(24, seed=4)
    config = FilterPruningConfig(prune_filters=0.6, device="cpu")
    before = module.bias.detach().clone() + torch.arange(10.0).view(2, 5)  # tells the filters apart
    module.bias.data.copy_(before)
    with pytest.raises(RecipeError) as error:
        pruning.plan_removal(module, FilterPruningConfig(prune_filters=0.05))
    assert str(error.value) == "prune_filters = 0.05 removes none of a kernel size's 5 filters; raise it"
    (score,) = pruning.importance(module, pruning._groups(module, "filters"), data, supervised(), 8, 0, CPU)
    pruning.prune(module, pruning.plan_removal(module, config), data, supervised(), config, pad_id=0, seed=0)
    best = [np.sort(np.argsort(-part)[:2]) for part in np.split(score, 2)]
    assert torch.equal(module.bias, torch.stack([row[kept.tolist()] for row, kept in zip(before, best, strict=True)]))


@pytest.mark.wide
def test_a_pruned_twin_has_the_same_budget(stage: Stage, pruned: Artifact) -> None:
    twin = stage.distill("twin", use_teacher=False, prune_heads=0.5, prune_units=0.5, recovery_epochs=3)
    assert twin.details["pruned"] == pruned.details["pruned"]
    assert twin.measurements["steps"] == pytest.approx(pruned.measurements["steps"], abs=10)
    assert "soft_loss" not in twin.measurements["history"][-1]


@pytest.mark.wide
def test_another_encoder_can_be_pruned_too(stage: Stage, encoder: Path) -> None:
    config = PretrainedStudent(**SHARED | {"model": str(encoder), "prune_units": 0.5, "recovery_epochs": 1})
    made = distill(stage.teacher, stage.labels, stage.data, stage.home / "pretrained", config)
    assert made.details["pruned"] == {"units": {"kept": 32, "of": 64}}


def test_a_refusal_comes_before_the_training(stage: Stage, tmp_path: Path) -> None:
    modern = save_encoder("modernbert", tmp_path / "modern")
    config = PretrainedStudent(**SHARED | {"model": str(modern), "prune_heads": 0.5, "epochs": 10**6})
    with pytest.raises(RecipeError, match="heads cannot be pruned from ModernBertForSequenceClassification"):
        distill(stage.teacher, stage.labels, stage.data, tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


@pytest.mark.wide
def test_a_killed_recovery_goes_on_to_equal_weights(
    stage: Stage, pruned: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint.Checkpoints, "due", lambda self: True)
    stage = copy.copy(stage)
    stage.home = tmp_path
    settings = {"prune_heads": 0.5, "prune_units": 0.5, "recovery_epochs": 3}

    class InRecovery(Failing):
        """Counts the steps of the second training only."""

        def track(self, description: str, total: int) -> Any:
            if total == 45:
                self.resumed = -1
            return super().track(description, total)

    with pytest.raises(PowerCutError):
        stage.distill("s", progress=InRecovery(50), **settings)
    found = stage.distill("s", progress=(progress := InRecovery(10**6)), **settings)
    assert progress.resumed > 0
    assert found.files["model.safetensors"]["sha256"] == pruned.files["model.safetensors"]["sha256"]
    assert found.measurements["history"] == pruned.measurements["history"]


def test_a_pruned_student_cannot_be_a_teacher(stage: Stage, pruned: Artifact, tmp_path: Path) -> None:
    for ready in (True, False):
        config = TeacherConfig(model=str(pruned.path), train=not ready, max_length=16)
        with pytest.raises(InputError, match="has lost heads to prune_heads"):
            train(stage.data, tmp_path / "teacher", config)
