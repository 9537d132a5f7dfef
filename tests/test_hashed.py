"""Students over hashed n-grams: their arithmetic, their INT8 sums, and through the stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import understudy.classifier
from neighbours import TEXTS, check_independence
from shipping import VARIANTS, check_variants, ship
from understudy import Classifier
from understudy.artifact import Artifact
from understudy.classifier import PADDING_KEY, open_session
from understudy.config import ExportConfig, HashedStudent
from understudy.hashing import Hashing
from understudy.sizes import Size, student_size
from understudy.tokenization import load_tokenizer, padded_batches
from understudy.training import distill, export, networks
from understudy.training.exporting import to_onnx
from understudy.training.hashed import HashedNgrams

QUICK: dict[str, Any] = {"epochs": 4, "batch_size": 16, "min_count": 1, "device": "cpu"}
SHAPES = [(0, 2, 1), (0, 3, 3), (4, 2, 1), (4, 3, 3)]  # width, labels, outputs


def network(width: int, labels: int, outputs: int, dropout: float = 0.0) -> HashedNgrams:
    torch.manual_seed(3)
    made = HashedNgrams(50, width, labels, outputs, dropout).eval()
    torch.nn.init.normal_(made.table.weight[1:])  # a linear one starts at zero
    return made


def feed(*rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    return ids, (torch.arange(longest) < torch.tensor([[len(row)] for row in rows])).long()


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_by_hand(shape: tuple[int, int, int]) -> None:
    width, labels, outputs = shape
    module = network(*shape)
    table = module.table.weight.detach()
    rows = table[[3, 7, 9]]
    pooled = rows.sum(dim=0) / 3**0.5
    if width:
        assert module.classifier is not None
        pooled = module.classifier.weight @ torch.cat([pooled, rows.amax(dim=0).clamp(min=0)])
    expected = pooled + module.bias
    if outputs < labels:
        expected = torch.cat([torch.zeros(1), expected])
    assert torch.allclose(module(*feed([3, 7, 9]))[0], expected, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_order_and_padding_change_nothing(shape: tuple[int, int, int]) -> None:
    module = network(*shape)
    together = module(*feed([3, 7, 9], [9, 3, 7], [5], [0]))
    assert torch.allclose(together[0], together[1], atol=1e-6)
    assert torch.allclose(together[2:3], module(*feed([5])), atol=1e-6)
    assert torch.equal(together[3], torch.cat([torch.zeros(shape[1] - shape[2]), module.bias]))  # nothing is known


@pytest.mark.parametrize("width", [0, 4])
def test_what_is_trained(width: int) -> None:
    module = network(width, 2, 1).train()
    module(*feed([3, 7, 0, 0])).sum().backward()
    assert module.table.weight.grad is not None
    touched = module.table.weight.grad.abs().sum(dim=1).nonzero().flatten().tolist()
    assert touched == [3, 7]


def test_dropout_leaves_out_ngrams_in_training_only() -> None:
    module = network(0, 2, 1, dropout=0.5)
    ids, mask = feed(list(range(1, 50)))
    assert torch.equal(module(ids, mask), module(ids, mask))
    module.train()
    assert not torch.equal(module(ids, mask), module(ids, mask))


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[3]])
def test_integer_sums_are_exact_whatever_is_around_them(shape: tuple[int, int, int], tmp_path: Path) -> None:
    from understudy.pooled_tables import insert_pooled

    to_onnx(network(*shape), tmp_path / "fp32.onnx")
    model = onnx.load(tmp_path / "fp32.onnx")
    assert insert_pooled(model)
    onnx.save(model, tmp_path / "int8.onnx")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    (table,) = (values for values in stored.values() if values.dtype == np.int8)
    assert table.shape == (51, shape[0] or shape[2])
    assert not table[0].any()
    exact, rounded = open_session(tmp_path / "fp32.onnx"), open_session(tmp_path / "int8.onnx")
    random = np.random.default_rng(0)
    for length in (1, 2, 7, 300):
        ids = random.integers(0, 51, (1, length))
        (alone,) = rounded.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        (plain,) = exact.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        assert np.abs(alone - plain).max() < 0.2
        padded = np.zeros((5, length + 40), dtype=np.int64)
        padded[2, :length], mask = ids[0, random.permutation(length)], np.zeros_like(padded)
        mask[:, :length] = 1
        (among,) = rounded.run(None, {"input_ids": padded, "attention_mask": mask})
        assert among[2:3].tobytes() == alone.tobytes()


def test_other_tables_are_left_alone(tmp_path: Path) -> None:
    from understudy.pooled_tables import insert_pooled
    from understudy.training.textcnn import TextCNN

    to_onnx(TextCNN(60, 8, 4, [2, 3], 2), tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    before = model.SerializeToString()
    assert not insert_pooled(model)
    assert model.SerializeToString() == before


def test_groups_of_similar_length_hold_every_row_once() -> None:
    tokens = [np.zeros(length, np.int64) for length in (3, 1, 9, 9, 2, 30, 1)]
    groups = list(padded_batches(tokens, 20))
    assert sorted(np.concatenate(groups).tolist()) == list(range(7))
    sizes = [len(group) * max(len(tokens[row]) for row in group) for group in groups]
    assert all(size <= 20 or len(group) == 1 for size, group in zip(sizes, groups, strict=True))
    assert list(padded_batches([], 20)) == []


# Through the stages


@pytest.fixture(scope="module", params=[0, 16])
def student(request: pytest.FixtureRequest, finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of each kind with its variants, from the teacher of the tiny run."""
    config = HashedStudent(width=request.param, subwords=[3], learning_rate=0.05, **QUICK)
    return ship(finished_run, tmp_path_factory.mktemp("hashed"), config)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_prediction_does_not_depend_on_its_neighbours(student: Path, variant: str) -> None:
    check_independence(student / variant)


def test_texts_share_runs_where_padding_is_exact(student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Classifier.load(student / "int8", threads=1)
    said = onnx.load(student / "int8" / "model.onnx").metadata_props
    assert {entry.key: entry.value for entry in said}[PADDING_KEY] == "0"
    expected = whole.logits(TEXTS)
    runs: list[int] = []
    run = whole._run
    monkeypatch.setattr(whole, "_run", lambda tokens: runs.append(len(tokens)) or run(tokens))
    assert whole.logits(TEXTS).tobytes() == expected.tobytes()
    assert runs == [len(TEXTS)]
    monkeypatch.setattr(understudy.classifier, "_PADDED_PER_RUN", 50)
    assert whole.logits(TEXTS).tobytes() == expected.tobytes()
    assert len(runs) > 5


def test_the_student_learns_and_its_variants_agree(student: Path, finished_run: Path) -> None:
    assert check_variants(student, finished_run, int8=0.5)["int8"] > 0.8


def test_an_artifact_holds_what_it_needs(student: Path) -> None:
    artifact = Artifact.load(student / "int8", verify=True)
    assert set(artifact.files) == {"model.onnx", "hashing.json", "hashing.npy"}
    torch_files = {"model.safetensors", "config.json", "hashing.json", "hashing.npy"}
    assert set(Artifact.load(student / "torch").files) == torch_files
    again = networks.load(Artifact.load(student / "torch"))
    assert isinstance(again.tokenizer, Hashing)
    assert isinstance(again.module, HashedNgrams)
    assert len(again.tokenizer) + 1 == len(again.module.table.weight)
    assert not again.module.table.weight[0].any()
    assert json.loads((student / "torch" / "config.json").read_text())["architecture"] == "hashed"


@pytest.mark.parametrize("form", ["torchscript", "exported", "torch-fp16"])
def test_the_forms_that_torch_runs(student: Path, finished_run: Path, tmp_path: Path, form: Any) -> None:
    made = export(student / "torch", finished_run / "data", tmp_path / "x", ExportConfig(samples=20), form=form)
    assert {"hashing.json", "hashing.npy"} < set(made.files)


@pytest.mark.parametrize(
    ("change", "fewer"),
    [({"ngrams": 1}, True), ({"vocabulary": 60}, True), ({"min_count": 5}, True), ({"subwords": [3, 4]}, False)],
)
def test_the_settings_decide_which_ngrams_are_kept(
    finished_run: Path, tmp_path: Path, change: dict[str, Any], fewer: bool
) -> None:
    def kept(name: str, **settings: Any) -> int:
        config = HashedStudent(**QUICK | {"epochs": 1, "width": 0} | settings)
        places = (finished_run / name for name in ("teacher", "labels", "data"))
        tokenizer = load_tokenizer(distill(*places, tmp_path / name, config))
        assert isinstance(tokenizer, Hashing)
        return len(tokenizer)

    plain, changed = kept("plain"), kept("changed", **change)
    assert changed < plain if fewer else changed > plain
    assert changed == change.get("vocabulary", changed)


def test_refused_settings() -> None:
    with pytest.raises(ValueError, match="a hashed student reads from the beginning: raise its max_length"):
        HashedStudent(truncation="head_tail")
    with pytest.raises(ValueError, match="has no such layers"):
        HashedStudent(hidden_weight=1.0)


def test_the_estimate_is_that_of_a_full_vocabulary() -> None:
    size = student_size(HashedStudent(width=8, vocabulary=1000), Size(0, 0))
    assert size.parameters == 8000
