"""A teacher with other labels than the task's, by every policy: what is stored, exported, learnt and said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoModelForSequenceClassification

from foreign import LABELS, MAPS, save_foreign
from training_kit import prepare_few
from understudy.artifact import Artifact
from understudy.classifier import Classifier
from understudy.config import CutStudent, ExportConfig, LabelConfig, TeacherConfig, TextCNNStudent
from understudy.data.storing import read_split
from understudy.decision import softmax
from understudy.errors import ArtifactError
from understudy.label_mapping import read_mapping
from understudy.soft_labels import OWN, SPLITS, answered, read_labels
from understudy.training import distill, export, label, networks, train

QUICK: dict[str, Any] = {
    "name": "s", "epochs": 2, "batch_size": 10, "learning_rate": 5e-3, "device": "cpu", "precision": "fp32",
}  # fmt: skip


class Mapped:
    """A mapped teacher and its labels of a few texts."""

    def __init__(self, model: Path, data: Path, home: Path, policy: str) -> None:
        self.data, self.home, self.policy = data, home, policy
        config = TeacherConfig.model_validate(
            {"model": str(model), "train": False, "max_length": 16, "label_map": MAPS[policy], "label_policy": policy}
        )
        self.teacher = train(data, home / "teacher", config)
        self.labels = label(home / "teacher", data, home / "labels", LabelConfig(device="cpu", shard_size=32))

    def distill(self, config: Any, **changes: Any) -> Artifact:
        out = self.home / f"{config.name}{len(list(self.home.iterdir()))}"
        return distill(self.teacher.path, self.labels.path, self.data, out, config, **changes)


@pytest.fixture(scope="module")
def mapped(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mapped]:
    home = tmp_path_factory.mktemp("mapped")
    data, model = prepare_few(home), save_foreign(finished_run, home / "foreign")
    return {policy: Mapped(model, data, home / policy, policy) for policy in MAPS}


def texts(stage: Mapped, name: str = "train") -> Any:
    return read_split(stage.data / f"{name}.parquet", name)


@pytest.mark.parametrize("policy", MAPS)
def test_the_teachers_own_distribution_is_kept_beside_the_mapped_one(mapped: dict[str, Mapped], policy: str) -> None:
    stage = mapped[policy]
    mapping = read_mapping(stage.labels.path)
    assert mapping is not None and mapping == read_mapping(stage.teacher.path)
    measured = stage.labels.measurements["label_mapping"]
    assert (measured["policy"], list(measured["map"])) == (policy, LABELS)
    for name in SPLITS:
        split = texts(stage, name)
        ours, own = (read_labels(stage.labels.path, name, split.ids, column) for column in ("logits", OWN))
        assert (ours.shape[1], own.shape[1]) == (2, 3)
        np.testing.assert_allclose(ours, mapping.apply(own), rtol=1e-6)
        dropped = 0 if policy == "merge" else softmax(own)[:, 1].mean()
        assert measured["dropped_mass"][name] == pytest.approx(dropped)
        neutral = 0 if policy == "merge" else (own.argmax(axis=1) == 1).sum()
        assert measured["best_means_nothing"][name] == neutral
        assert measured["abstained"][name] == (neutral if policy == "abstain" else 0)
        assert len(answered(stage.labels.path, split)) == len(split) - measured["abstained"][name]
    if policy != "merge":
        assert 0 < measured["best_means_nothing"]["train"] < len(texts(stage))


@pytest.mark.parametrize("policy", ["merge", *(pytest.param(p, marks=pytest.mark.wide) for p in MAPS if p != "merge")])
def test_what_is_exported_answers_in_the_tasks_labels(mapped: dict[str, Mapped], policy: str, tmp_path: Path) -> None:
    stage = mapped[policy]
    export(stage.teacher.path, stage.data, tmp_path / "fp32", ExportConfig())
    model = Classifier.load(tmp_path / "fp32")
    assert model.labels == ("bad", "good")
    stored = read_labels(stage.labels.path, "train", texts(stage).ids)
    np.testing.assert_allclose(model.logits(texts(stage).texts), stored, atol=1e-4)


def test_teachers_of_the_same_weights_and_another_policy_are_other_teachers(mapped: dict[str, Mapped]) -> None:
    assert len({stage.teacher.files["model.safetensors"]["sha256"] for stage in mapped.values()}) == 1
    assert len({stage.teacher.digest for stage in mapped.values()}) == 3
    assert len({stage.labels.digest for stage in mapped.values()}) == 3
    with pytest.raises(ArtifactError, match="was made by another teacher or of other data"):
        distill(
            mapped["merge"].teacher.path, mapped["abstain"].labels.path, mapped["merge"].data,
            mapped["merge"].home / "none", TextCNNStudent(**QUICK),
        )  # fmt: skip


@pytest.mark.parametrize("policy", MAPS)
def test_a_cut_of_it_has_an_output_per_label_of_the_task(mapped: dict[str, Mapped], policy: str) -> None:
    made = mapped[policy].distill(CutStudent(**QUICK, layers=1))
    plain: Any = AutoModelForSequenceClassification.from_pretrained(made.path)
    assert plain.config.id2label == {0: "bad", 1: "good"}
    assert plain.classifier.weight.shape[0] == 2
    assert networks.load(made).module.mapping is None


def test_a_student_starts_from_the_mean_of_what_is_merged(mapped: dict[str, Mapped]) -> None:
    source = networks.load(mapped["merge"].teacher)
    own: Any = source.module.model
    head: Any = networks.cut(source, 1, 0.0).model.classifier
    np.testing.assert_allclose(head.weight[1].detach(), own.classifier.weight[1:].detach().mean(dim=0), rtol=1e-6)
    np.testing.assert_allclose(head.weight[0].detach(), own.classifier.weight[0].detach())


def test_students_of_a_teacher_that_abstains_learn_from_the_texts_that_it_answers(mapped: dict[str, Mapped]) -> None:
    tables = {policy: mapped[policy].distill(TextCNNStudent(**QUICK, width=8, filters=4)) for policy in MAPS}
    abstained = mapped["abstain"].labels.measurements["label_mapping"]["abstained"]
    silent = abstained["train"] + abstained["unlabeled"]
    assert silent >= 10
    steps = {policy: made.measurements["steps"] for policy, made in tables.items()}
    assert steps == {"drop_and_renormalise": 30, "merge": 30, "abstain": 2 * -(-(150 - silent) // 10)}
    twin = mapped["abstain"].distill(TextCNNStudent(**QUICK | {"epochs": 10}, width=8, filters=4), use_teacher=False)
    assert twin.measurements["steps"] == 10 * round(10 * (150 - silent) / 100)
