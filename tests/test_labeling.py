"""label: every text of train, val and the transfer set once, by id, never test; an interrupted run goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from training_kit import Failing, PowerCutError, prepare_few
from understudy.artifact import Artifact
from understudy.config import LabelConfig
from understudy.data.storing import read_split
from understudy.decision import fit_temperature
from understudy.errors import ArtifactError
from understudy.soft_labels import read_labels
from understudy.tokenization import TextEncoder
from understudy.training import label, networks
from understudy.training.loop import infer

SPLITS = ("train", "val", "unlabeled")
CONFIG = LabelConfig(batch_size=16, shard_size=32, device="cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_few(tmp_path_factory.mktemp("few"))


@pytest.fixture(scope="module")
def labels(finished_run: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("labelled") / "labels"
    label(finished_run / "teacher", data, out, CONFIG)
    return out


def total(data: Path) -> int:
    return sum(len(read_split(data / f"{name}.parquet", name)) for name in SPLITS)


def test_every_text_is_labelled_once_except_those_of_test(labels: Path, data: Path) -> None:
    import pyarrow.parquet as pq

    artifact = Artifact.load(labels, "labels", verify=True)
    for name in SPLITS:
        shards = sorted(labels.glob(f"{name}-*.parquet"))
        ids = [example for shard in shards for example in pq.read_table(shard)["id"].to_pylist()]
        assert ids == list(read_split(data / f"{name}.parquet", name).ids)
        assert len(shards) == -(-len(ids) // CONFIG.shard_size) > 1
    assert {Path(file).name.rsplit("-", 1)[0] for file in artifact.files} == set(SPLITS)
    assert artifact.measurements["teacher_calls"] == total(data)
    assert artifact.measurements["confidence"].keys() == set(SPLITS)


def test_stored_logits_are_those_of_the_teacher(labels: Path, data: Path, finished_run: Path) -> None:
    teacher = Artifact.load(finished_run / "teacher", "model")
    network = networks.load(teacher)
    assert teacher.text is not None
    encoder = TextEncoder(network.tokenizer, teacher.text)
    for name in SPLITS:
        split = read_split(data / f"{name}.parquet", name)
        expected = infer(network.module, encoder.encode(split.texts), network.pad_id, torch.device("cpu"))
        np.testing.assert_allclose(read_labels(labels, name, split.ids), expected, atol=1e-5)
    val = read_split(data / "val.parquet", "val")
    temperature = fit_temperature(read_labels(labels, "val", val.ids), val.labels)
    assert Artifact.load(labels).temperature == temperature


def test_rows_are_found_by_id_in_any_order(labels: Path, data: Path) -> None:
    ids = list(read_split(data / "train.parquet", "train").ids)
    straight = read_labels(labels, "train", ids)
    order = np.random.default_rng(0).permutation(len(ids))
    np.testing.assert_array_equal(read_labels(labels, "train", [ids[row] for row in order]), straight[order])
    np.testing.assert_array_equal(read_labels(labels, "train", ids[40:42]), straight[40:42])
    assert straight.dtype == np.float32
    with pytest.raises(KeyError):
        read_labels(labels, "train", ["train:unknown"])


def test_a_second_run_calls_nobody(labels: Path, data: Path, finished_run: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in labels.iterdir()}
    label(finished_run / "teacher", data, labels, CONFIG, progress=Failing(1))
    other_batches = CONFIG.model_copy(update={"batch_size": 7})
    label(finished_run / "teacher", data, labels, other_batches, progress=Failing(1))
    assert {file: file.stat().st_mtime_ns for file in labels.iterdir()} == before


@pytest.mark.parametrize("texts", [40, 75, 120])
def test_an_interrupted_run_goes_on_with_the_missing_shards(
    labels: Path, data: Path, finished_run: Path, tmp_path: Path, texts: int
) -> None:
    out = tmp_path / "labels"
    with pytest.raises(PowerCutError):
        label(finished_run / "teacher", data, out, CONFIG, progress=Failing(texts))
    assert not out.exists()
    kept = {shard.name: shard.stat().st_mtime_ns for shard in tmp_path.glob(".labels.partial/*.parquet")}
    artifact = label(finished_run / "teacher", data, out, CONFIG)
    sizes = {shard: len(read_shard(out / shard)) for shard in kept}
    assert kept
    assert artifact.measurements["teacher_calls"] == total(data)
    assert artifact.measurements["of_an_interrupted_run"] == sum(sizes.values())
    assert {shard: (out / shard).stat().st_mtime_ns for shard in kept} == kept
    assert artifact.digest == Artifact.load(labels).digest
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]


def read_shard(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    ids: list[str] = pq.read_table(path)["id"].to_pylist()
    return ids


def changed_teacher(teacher: Path, out: Path) -> Path:
    """The teacher with a shorter max_length: the same weights, other logits."""
    shutil.copytree(teacher, out)
    artifact = Artifact.load(out)
    assert artifact.text is not None
    artifact.rewrite(text=type(artifact.text)(artifact.text.normalize, 5))
    return out


def test_another_teacher_or_other_data_is_labelled_again(
    labels: Path, data: Path, finished_run: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(labels, tmp_path / "labels")
    other = label(changed_teacher(finished_run / "teacher", tmp_path / "short"), data, out, CONFIG)
    assert other.measurements["teacher_calls"] == total(data)
    ids = read_split(data / "train.parquet", "train").ids
    assert not np.allclose(read_labels(out, "train", ids), read_labels(labels, "train", ids), atol=1e-3)
    whole = label(finished_run / "teacher", finished_run / "data", out, CONFIG)
    rows = [len(read_split(finished_run / "data" / f"{name}.parquet", name)) for name in ("train", "val")]
    assert whole.measurements["teacher_calls"] == sum(rows)
    assert not list(out.glob("unlabeled-*"))


def test_shards_of_another_teacher_are_not_taken_up(data: Path, finished_run: Path, tmp_path: Path) -> None:
    short = changed_teacher(finished_run / "teacher", tmp_path / "short")
    with pytest.raises(PowerCutError):
        label(short, data, tmp_path / "labels", CONFIG, progress=Failing(90))
    artifact = label(finished_run / "teacher", data, tmp_path / "labels", CONFIG)
    assert artifact.measurements["teacher_calls"] == total(data)


def test_a_teacher_with_the_labels_in_another_order_is_refused(data: Path, finished_run: Path, tmp_path: Path) -> None:
    teacher = shutil.copytree(finished_run / "teacher", tmp_path / "teacher")
    artifact = Artifact.load(teacher)
    assert artifact.task is not None
    artifact.rewrite(task=type(artifact.task)("tiny", ("good", "bad")))
    with pytest.raises(ArtifactError) as error:
        label(teacher, data, tmp_path / "labels", CONFIG)
    assert str(error.value) == (
        f"{teacher} decides between good, bad, the labels of {data} are bad, good: train a teacher on this data first"
    )
