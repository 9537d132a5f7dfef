"""Quantisation-aware distillation: what is simulated is what ships, and it stays only where validation likes it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from training_kit import Failing, PowerCutError
from understudy import Classifier, qdq, ranges
from understudy.artifact import Artifact
from understudy.config import (
    ExportConfig,
    GatedCNNStudent,
    QuantizeConfig,
    StudentConfig,
    TextCNNStudent,
    TransformerStudent,
)
from understudy.data.storing import read_split
from understudy.data.task import Split
from understudy.errors import RecipeError, WorkError
from understudy.quantization import LADDER, quantize
from understudy.tokenization import TextEncoder
from understudy.training import checkpoint, distill, export, networks
from understudy.training.fake_quantization import FakeQuantized, find_places
from understudy.training.loop import infer

SHARED: dict[str, Any] = {
    "name": "s", "epochs": 1, "batch_size": 10, "learning_rate": 2e-3, "device": "cpu", "precision": "fp32",
    "quant_epochs": 1, "quant_learning_rate": 5e-3,
}  # fmt: skip
CPU = torch.device("cpu")


def cnn(**changes: Any) -> TextCNNStudent:
    return TextCNNStudent(**SHARED | {"width": 12, "filters": 4, "min_count": 1} | changes)


STUDENTS: dict[str, StudentConfig] = {
    "transformer": TransformerStudent(**SHARED, layers=1, width=16, heads=2, vocabulary=100),
    "textcnn": cnn(),
    "gated-cnn": GatedCNNStudent(**SHARED, width=12, channels=8, kernel=3, min_count=1),
}


@pytest.fixture(autouse=True)
def _small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdq, "_SMALL_TABLE", 64)  # tables of tiny models, too, are to be rounded


def distilled(run: Path, out: Path, config: StudentConfig, **changes: Any) -> Artifact:
    return distill(run / "teacher", run / "labels", run / "data", out, config, **changes)


def weights(artifact: Artifact) -> bytes:
    return (artifact.path / "model.safetensors").read_bytes()


def simulated(artifact: Artifact, proto: onnx.ModelProto) -> FakeQuantized:
    module = networks.load(artifact).module
    intervals = [qdq.Range(*ends) for ends in artifact.details[ranges.TRAINED]]
    return FakeQuantized(module, find_places(module, proto, "s"), intervals)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "transformer" else [pytest.mark.wide]) for kind in STUDENTS]
)
def test_the_file_computes_what_was_simulated_whatever_the_batch(finished_run: Path, tmp_path: Path, kind: str) -> None:
    data = finished_run / "data"
    student = distilled(finished_run, tmp_path / "torch", STUDENTS[kind])
    assert student.measurements["quantized_stage"]["kept"]
    export(tmp_path / "torch", data, tmp_path / "fp32", ExportConfig())
    made = quantize(tmp_path / "fp32", data, tmp_path / "int8", QuantizeConfig(samples=16))
    assert made.details["rung"] == LADDER[0].name
    proto, file = (onnx.load(tmp_path / name / "model.onnx") for name in ("fp32", "int8"))
    assert qdq.products(file) == []
    assert any(tensor.name.endswith("_row_scales") for tensor in file.graph.initializer)

    texts = read_split(data / "val.parquet", "val").texts
    plain, int8 = (Classifier.load(tmp_path / name) for name in ("fp32", "int8"))
    assert student.text is not None
    network = networks.load(student)
    tokens = TextEncoder(network.tokenizer, student.text).encode(texts)
    expected = infer(simulated(student, proto), tokens, network.pad_id, CPU)
    found = int8.logits(texts)
    assert np.array_equal(found, np.concatenate([int8.logits([text]) for text in texts]))
    # a value in the middle of two steps may go to either side: one row in a hundred, and less far than INT8 moves it
    difference = np.abs(found - expected).max(axis=1)
    moved = float(np.abs(plain.logits(texts) - expected).max())
    assert moved > 1e-3
    assert np.mean(difference < 1e-5) > 0.9
    assert difference.max() < moved


def test_the_ranges_are_measured_on_as_many_texts_as_the_setting_says(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, observe = list[int](), ranges.observe

    def counted(proto: onnx.ModelProto, encoder: TextEncoder, train: Split, samples: int, seed: int) -> Any:
        counts.append(samples)
        return observe(proto, encoder, train, samples, seed)

    monkeypatch.setattr(ranges, "observe", counted)
    distilled(finished_run, tmp_path / "torch", cnn())
    assert f"measured on {counts.pop()} training texts" in str(TextCNNStudent.model_fields["quant_epochs"].description)
    assert not counts


def test_gradients_pass_where_the_range_does_not_clip() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2, bias=False)

    class Alone(nn.Module):
        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = layer(ids)
            return found

    values = torch.tensor([[0.3, 5.0, -0.2]], requires_grad=True)
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], "product")], "g", [], [],
            [onnx.numpy_helper.from_array(layer.weight.detach().numpy().T.copy(), "w")],
        )
    )  # fmt: skip

    class Long(Alone):  # find_places asks with token ids
        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return super().forward(ids[:, :3].float(), mask)

    places = find_places(Long(), proto, "s")
    assert (places.products, places.lookups) == ((0,), frozenset())
    found = FakeQuantized(Alone(), places, [qdq.Range(-1.0, 1.0)])(values, values)
    assert found[0, 0].item() == pytest.approx(
        float(qdq.Range(-1.0, 1.0).round(values.detach().numpy())[0] @ rounded(layer.weight)[0]), abs=1e-6
    )
    found.sum().backward()
    assert values.grad is not None and layer.weight.grad is not None
    assert values.grad[0, 1] == 0
    assert values.grad[0, 0] != 0
    assert (layer.weight.grad != 0).all()


def rounded(weight: torch.Tensor) -> np.ndarray[Any, Any]:
    values, scales = qdq.quantize_columns(weight.detach().numpy().T)
    result: np.ndarray[Any, Any] = (values * scales).T
    return result


def test_a_product_that_is_no_linear_layer_is_refused_before_any_training(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "weight_of", lambda product, weights: np.zeros((2, 2), np.float32))
    with pytest.raises(
        RecipeError, match=r"^student s: quant_epochs cannot simulate INT8 in this model, whose product"
    ):
        distilled(finished_run, tmp_path / "torch", cnn(), progress=Failing(1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.wide
def test_a_stage_that_does_not_help_is_taken_back(finished_run: Path, tmp_path: Path) -> None:
    plain = distilled(finished_run, tmp_path / "plain", cnn(epochs=4, quant_epochs=0, quant_learning_rate=0.0))
    found = distilled(finished_run, tmp_path / "torch", cnn(epochs=4, quant_learning_rate=2.0))
    assert not found.measurements["quantized_stage"]["kept"]
    assert weights(found) == weights(plain)
    assert found.measurements["best_epoch"] == plain.measurements["best_epoch"]
    assert len(found.measurements["history"]) == 5
    assert ranges.TRAINED not in found.details


@pytest.mark.wide
def test_a_killed_stage_goes_on_to_equal_weights(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint.Checkpoints, "due", lambda self: True)
    expected = distilled(finished_run, tmp_path / "one", cnn())
    steps = expected.measurements["steps"]
    assert [epoch["epoch"] for epoch in expected.measurements["history"]] == [1, 2]
    with pytest.raises(PowerCutError):
        distilled(finished_run, tmp_path / "two", cnn(), progress=Failing(steps * 3 // 4))
    found = distilled(finished_run, tmp_path / "two", cnn())
    assert weights(found) == weights(expected)
    assert found.details == expected.details
    assert found.measurements["quantized_stage"] == expected.measurements["quantized_stage"]


@pytest.mark.wide
def test_a_twin_has_as_many_steps_and_no_simulation(finished_run: Path, tmp_path: Path) -> None:
    one = distilled(finished_run, tmp_path / "one", cnn())
    twin = distilled(finished_run, tmp_path / "twin", cnn(), use_teacher=False)
    assert twin.measurements["steps"] == one.measurements["steps"]
    assert "quantized_stage" not in twin.measurements
    assert ranges.TRAINED not in twin.details


def test_ranges_of_another_graph_are_refused(finished_run: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(finished_run / "students/cnn/fp32", tmp_path / "cnn/fp32"))
    source = Artifact.load(home)
    source.rewrite(details=source.details | {ranges.TRAINED: [[-1.0, 1.0], [-1.0, 1.0]]})
    with pytest.raises(WorkError) as refusal:
        quantize(home, finished_run / "data", tmp_path / "int8", QuantizeConfig(samples=16))
    assert str(refusal.value) == (
        "cnn/fp32 was trained with the INT8 ranges of 2 matrix products, and its ONNX file has 1: another version of "
        "torch wrote it; distil the student again"
    )
