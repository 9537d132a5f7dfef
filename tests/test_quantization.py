"""INT8 in the graph, its ranges, and the gate."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from understudy import Classifier, qdq
from understudy.artifact import Artifact
from understudy.config import QuantizeConfig
from understudy.data.storing import read_split
from understudy.errors import ArtifactError
from understudy.metrics import Estimate
from understudy.quantization import LADDER, GateRefusedError, quantize

finite = st.floats(-100, 100, width=32)


@given(low=st.floats(-100, 0), high=st.floats(0, 100), values=st.lists(finite, min_size=1))
def test_rounding_stays_within_half_a_step_inside_the_range(low: float, high: float, values: list[float]) -> None:
    interval = qdq.Range(low, high)
    inside = np.clip(np.array(values, dtype=np.float32), low, high)
    # half a step for the value, half a step because zero must be a step
    assert np.all(np.abs(interval.round(inside) - inside) <= interval.scale * 1.01 + 1e-6)
    assert interval.round(np.zeros(1, np.float32))[0] == 0


def test_columns_are_quantized_apart() -> None:
    weight = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32) * np.array([1, 100, 0.01], np.float32)
    values, scales = qdq.quantize_columns(weight)
    assert values.dtype == np.int8
    assert np.all(np.abs(values * scales - weight) <= scales / 2 + 1e-9)


def test_an_outlier_does_not_cost_the_others_their_resolution() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(400, 16)).astype(np.float32)
    rows[7, 3] = 60
    seen = qdq.Observed()
    for row in rows:
        seen.add(row[None, None], random)
    weight = random.normal(size=(16, 8)).astype(np.float32)
    weight[3] *= 1e-3  # the outlier's channel hardly counts
    best, loss = qdq.best_range(seen, [weight])
    assert best.high < 40
    full = qdq.full_range(seen)
    exact = rows @ weight
    assert loss < 0.6 * float(np.sqrt(np.square(full.round(rows) @ weight - exact).sum() / np.square(exact).sum()))


@pytest.mark.parametrize("student", ["half", "fresh", "cnn"])
def test_int8_files_hold_int8(finished_run: Path, student: str) -> None:
    model = onnx.load(finished_run / "students" / student / "int8" / "model.onnx")
    assert qdq.products(model) == []  # none is left with an FP32 weight
    assert {t.data_type for t in model.graph.initializer} >= {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    assert not any(node.op_type == "DynamicQuantizeLinear" for node in model.graph.node)


def test_a_table_is_quantized_row_by_row(finished_run: Path) -> None:
    source = onnx.load(finished_run / "students/half/fp32/model.onnx")
    changed = onnx.ModelProto()
    changed.CopyFrom(source)
    largest = max(source.graph.initializer, key=lambda t: len(t.raw_data) if len(t.dims) == 2 else 0)
    table = numpy_helper.to_array(largest)
    original, qdq._SMALL_TABLE = qdq._SMALL_TABLE, 64
    try:
        assert qdq.insert_tables(changed) >= 1
    finally:
        qdq._SMALL_TABLE = original
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in changed.graph.initializer}
    back = stored[f"{largest.name}_rows"] * stored[f"{largest.name}_row_scales"]
    assert np.all(np.abs(back - table) <= np.abs(table).max(axis=1, keepdims=True) / 254 + 1e-8)


def test_fp16_halves_the_file_and_hardly_moves_the_logits(finished_run: Path) -> None:
    home = finished_run / "students/half"
    sizes = {v: (home / v / "model.onnx").stat().st_size for v in ("fp32", "fp16")}
    assert sizes["fp16"] < 0.75 * sizes["fp32"]
    val = read_split(finished_run / "data/val.parquet", "val")
    one, two = (Classifier.load(home / variant).logits(val.texts) for variant in ("fp32", "fp16"))
    assert np.abs(one - two).max() < 0.02


def _verdicts(monkeypatch: pytest.MonkeyPatch, lows: list[float]) -> None:
    answers = iter(lows)

    def difference(*_: object) -> Estimate:
        low = next(answers)
        return Estimate(low + 0.002, low, low + 0.004, 1000)

    monkeypatch.setattr("understudy.quantization.paired_difference", difference)
    monkeypatch.setattr("understudy.quantization._ENOUGH_ROWS", 10)


def test_the_gate_goes_down_the_ladder(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _verdicts(monkeypatch, [-0.02, -0.01, -0.004])
    home = finished_run / "students/half/fp32"
    made = quantize(home, finished_run / "data", tmp_path / "int8", QuantizeConfig(samples=16))
    assert made.details["rung"] == LADDER[2].name
    assert [verdict["passed"] for verdict in made.measurements["tried"]] == [False, False, True]


def test_the_gate_refuses_and_writes_nothing(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _verdicts(monkeypatch, [-0.02] * len(LADDER))
    with pytest.raises(GateRefusedError) as refusal:
        quantize(finished_run / "students/half/fp32", finished_run / "data", tmp_path / "int8", QuantizeConfig())
    assert str(refusal.value) == (
        "int8 of half/fp32 was refused: on validation the metric changes by -1.80 points [-2.00, -1.60] on 1000 texts, "
        "and a loss above 0.5 points cannot be excluded; raise quantize.max_loss, or ship fp32"
    )
    assert list(tmp_path.iterdir()) == []


def test_without_a_gate_everything_passes(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _verdicts(monkeypatch, [-0.5])
    config = QuantizeConfig(gate=False, samples=16)
    made = quantize(finished_run / "students/half/fp32", finished_run / "data", tmp_path / "int8", config)
    assert made.details["rung"] == LADDER[0].name


def test_few_validation_rows_warn(finished_run: Path) -> None:
    made = Artifact.load(finished_run / "students/half/int8")
    assert made.warnings == ["70 validation rows are too few to judge what was lost (500 wanted)"]
    assert "instruction_set" in made.details


def test_every_rung_spares_a_product_even_of_a_model_with_one(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = []
    for lows in ([0.0], [-0.02, 0.0]):
        _verdicts(monkeypatch, lows)
        home = finished_run / "students/cnn/fp32"
        made = quantize(home, finished_run / "data", tmp_path / str(len(lows)), QuantizeConfig(samples=16))
        files.append(onnx.load(made.path / "model.onnx"))
    quantized = [sum(node.op_type == "QuantizeLinear" for node in file.graph.node) for file in files]
    assert quantized[0] > quantized[1]


def test_every_setting_changes_the_file(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.qdq._SMALL_TABLE", 100)
    home, data = finished_run / "teacher-fp32", finished_run / "data"
    changes: list[dict[str, Any]] = [{}, {"samples": 200}, {"method": "dynamic"}, {"embeddings": False}]
    files = set()
    for number, change in enumerate(changes):
        config = QuantizeConfig(**{"samples": 16} | change)
        files.add(quantize(home, data, tmp_path / str(number), config).files["model.onnx"]["sha256"])
    assert len(files) == len(changes)


def test_a_larger_loss_is_let_through_where_it_is_allowed(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _verdicts(monkeypatch, [-0.02])
    config = QuantizeConfig(samples=16, max_loss=2.1)
    made = quantize(finished_run / "students/cnn/fp32", finished_run / "data", tmp_path / "int8", config)
    assert made.details["rung"] == LADDER[0].name


def test_a_source_that_was_tampered_with_is_refused(finished_run: Path, tmp_path: Path) -> None:
    home = shutil.copytree(finished_run / "students/cnn/fp32", tmp_path / "fp32")
    content = bytearray((home / "model.onnx").read_bytes())
    content[-8] ^= 1
    (home / "model.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        quantize(home, finished_run / "data", tmp_path / "int8", QuantizeConfig(samples=16))
    assert not (tmp_path / "int8").exists()
