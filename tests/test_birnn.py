"""BiRNN is torch's bidirectional LSTM or GRU; neither direction reads padding, and ONNX's operators say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import Tensor, nn

from neighbours import check_independence
from shipping import VARIANTS, check_variants, ship
from training_kit import check_padding_stays_zero
from understudy import Classifier, qdq
from understudy.classifier import open_session
from understudy.config import BiGRUStudent, BiLSTMStudent, QuantizeConfig
from understudy.metrics import Estimate
from understudy.quantization import LADDER, quantize
from understudy.student_settings import Pooling
from understudy.training.birnn import BiRNN, Cell
from understudy.training.exporting import to_onnx
from understudy.training.loop import pad

WIDTH, UNITS, VOCABULARY, LABELS = 6, 5, 30, 3
LENGTHS = [1, 2, 7, 8, 23]
CELLS: tuple[Cell, ...] = ("lstm", "gru")


def network(layers: int = 1, dropout: float = 0.3, cell: Cell = "lstm", pooling: Pooling = "max") -> BiRNN:
    torch.manual_seed(0)
    return BiRNN(VOCABULARY, WIDTH, UNITS, layers, LABELS, dropout, cell, pooling).eval()


def texts(seed: int, lengths: list[int]) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(1, VOCABULARY, length) for length in lengths]


def alone(module: nn.Module, row: np.ndarray) -> Tensor:
    return module(torch.from_numpy(row[None]), torch.ones(1, len(row), dtype=torch.int64))


# The network


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("pooling", ["max", "max_mean"])
def test_it_equals_a_recurrence_of_each_direction_and_what_is_read_of_it(
    layers: int, cell: Cell, pooling: Pooling
) -> None:
    module = network(layers, cell=cell, pooling=pooling)
    plain = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](WIDTH, UNITS, layers, bidirectional=True)
    plain.load_state_dict({n.rpartition(".")[2]: t for n, t in module.recurrence.state_dict().items()})
    with torch.no_grad():
        for row in texts(1, LENGTHS):
            states, _ = plain(module.embeddings(torch.from_numpy(row)))
            read = [states.amax(dim=0), states.mean(dim=0)][: 1 if pooling == "max" else 2]
            expected = module.classifier(torch.cat(read))
            torch.testing.assert_close(alone(module, row)[0], expected, atol=1e-6, rtol=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(0, 12), st.booleans())
def test_padding_changes_no_logit(seed: int, lengths: list[int], extra: int, gru: bool) -> None:
    module, rows = network(layers=2, cell="gru" if gru else "lstm", pooling="max_mean"), texts(seed, lengths)
    ids, mask = pad([*rows, np.ones(max(lengths) + extra, dtype=np.int64)], 0)
    garbage = torch.where(mask.bool(), ids, 7)  # whatever stands behind a text
    with torch.no_grad():
        together, disturbed = module(ids, mask), module(garbage, mask)
        apart = torch.cat([alone(module, row) for row in rows])
    torch.testing.assert_close(together[:-1], apart, atol=1e-6, rtol=1e-6)
    assert torch.equal(together, disturbed)


def test_padding_is_no_maximum_where_every_state_is_negative() -> None:
    module = network()
    lstm = module.recurrence.lstm
    for name, parameter in lstm.named_parameters():  # type: ignore[union-attr, operator]
        nn.init.constant_(parameter, 0.0)
        if name.startswith("bias_ih"):
            parameter.data[2 * UNITS : 3 * UNITS] = -1.0  # the cell gate
    ids, mask = pad(texts(4, [2, 9]), 0)
    with torch.no_grad():
        torch.testing.assert_close(module(ids, mask)[:1], alone(module, ids[0, :2].numpy()), atol=1e-6, rtol=1e-6)


def test_it_sees_the_order_of_words() -> None:
    module = network()
    ids = torch.tensor([[4, 5, 6, 7], [7, 6, 5, 4]])
    with torch.no_grad():
        one, other = module(ids, torch.ones_like(ids))
    assert (one - other).abs().max() > 1e-3


def test_it_returns_logits_not_probabilities() -> None:
    module = network()
    nn.init.constant_(module.classifier.bias, -8.0)
    ids = torch.ones(2, 5, dtype=torch.int64)
    with torch.no_grad():
        assert module(ids, ids).max() < -1


def test_the_embedding_of_padding_stays_zero_in_training() -> None:
    check_padding_stays_zero(network().train(), *pad(texts(2, [2, 9, 5]), 0))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("layers", [1, 3])
def test_dropout_acts_before_between_and_after_the_layers(layers: int) -> None:
    module = network(layers, dropout=0.4)
    lstm: nn.LSTM = module.recurrence.lstm  # type: ignore[assignment]
    assert (module.dropout.p, lstm.dropout) == (0.4, 0.4 if layers > 1 else 0.0)
    fed: list[Tensor] = []
    for layer in (module.recurrence, module.classifier):
        layer.register_forward_pre_hook(lambda _, inputs: fed.append(inputs[0]))
    ids = torch.ones(4, 9, dtype=torch.int64)
    module.train()(ids, ids)
    assert [0.2 < float((given == 0).float().mean()) < 0.6 for given in fed] == [True, True]


def test_the_recurrence_stays_in_fp32_under_autocast() -> None:
    module = network()
    words, lengths = torch.randn(2, 9, WIDTH), torch.tensor([9, 4])
    with torch.no_grad():
        expected = module.recurrence(words, lengths)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(module.recurrence(words, lengths), expected)
            assert module(torch.ones(2, 9, dtype=torch.int64), torch.ones(2, 9, dtype=torch.int64)).isfinite().all()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("pooling", ["max", "max_mean"])
def test_its_config_rebuilds_it(cell: Cell, pooling: Pooling) -> None:
    module = network(layers=2, cell=cell, pooling=pooling)
    twin = BiRNN(**module.config()).eval()
    twin.load_state_dict(module.state_dict())
    (row,) = texts(3, [8])
    with torch.no_grad():
        assert torch.equal(alone(twin, row), alone(module, row))


def test_what_was_saved_when_there_were_lstms_alone_opens() -> None:
    """Their configs name no cell and no pooling; their weights are called recurrence.lstm."""
    old = {"vocabulary": VOCABULARY, "width": WIDTH, "units": UNITS, "layers": 1, "labels": LABELS}
    module = BiRNN(**old)
    assert module.config() == old | {"cell": "lstm", "pooling": "max"}
    names = {f"recurrence.lstm.{name}" for name, _ in nn.LSTM(1, 1, bidirectional=True).named_parameters()}
    assert module.state_dict().keys() == {"embeddings.weight", "classifier.weight", "classifier.bias", *names}


# In ONNX


def logits(session: ort.InferenceSession, ids: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids) if mask is None else mask}
    found: np.ndarray = session.run(["logits"], feed)[0]
    return found


@pytest.mark.parametrize(
    ("layers", "cell", "pooling"),
    [(1, "lstm", "max"), (2, "lstm", "max_mean"), (1, "gru", "max_mean"), (2, "gru", "max")],
)
def test_the_onnx_file_equals_torch_at_any_length_alone_and_padded(
    tmp_path: Path, layers: int, cell: Cell, pooling: Pooling
) -> None:
    module = network(layers, cell=cell, pooling=pooling)
    for parameter in module.parameters():
        parameter.data.mul_(2)  # logits that differ
    to_onnx(module, tmp_path / "model.onnx")
    session = open_session(tmp_path / "model.onnx")
    rows = texts(5, LENGTHS)
    ids, mask = pad(rows, 0)
    with torch.no_grad():
        expected = module(ids, mask).numpy()
    np.testing.assert_allclose([logits(session, row[None])[0] for row in rows], expected, atol=1e-5)
    garbage = torch.where(mask.bool(), ids, 7).numpy()
    np.testing.assert_allclose(logits(session, garbage, mask.numpy()), expected, atol=1e-5)
    assert np.ptp(expected[:, 0]) > 1e-2


@pytest.mark.parametrize("cell", CELLS)
def test_the_recurrence_is_onnxs_own_operator_over_constants(tmp_path: Path, cell: Cell) -> None:
    to_onnx(network(layers=2, cell=cell), tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    kinds = [node.op_type for node in graph.node]
    assert (kinds.count(cell.upper()), {"Loop", "Scan"} & set(kinds)) == (2, set())
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        assert node.op_type != cell.upper() or constants >= set(node.input[1:4])


@pytest.fixture(scope="module", params=CELLS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network of the real size."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("written") / "model.onnx"
    to_onnx(BiRNN(500, 300, 150, 2, 6, 0.0, request.param, "max_mean"), file)
    return file


@pytest.mark.parametrize("variant", ["fp32", "fp16", "int8"])
def test_a_batch_of_the_real_size_changes_no_byte(written: Path, tmp_path: Path, variant: str) -> None:
    model = onnx.load(written)
    if variant == "fp16":
        qdq.halve(model)
    if variant == "int8":
        qdq.insert_recurrent(model)
        assert qdq.insert_tables(model) == 1
    onnx.save(model, tmp_path / "model.onnx")
    session = open_session(tmp_path / "model.onnx")
    for length in (1, 3, 16, 64):
        ids = np.random.default_rng(length).integers(0, 500, (29, length))
        single = np.concatenate([logits(session, row[None]) for row in ids])
        for size in (2, 5, 12, 29):
            assert logits(session, ids[:size]).tobytes() == single[:size].tobytes()
        assert logits(session, ids[::-1].copy()).tobytes() == single[::-1].tobytes()


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_weights_are_stored_in_int8_gate_by_gate(tmp_path: Path, cell: Cell) -> None:
    module = network(layers=2, cell=cell)
    for parameter in module.parameters():
        parameter.data[0] *= 50  # a row beside which the others are small
    to_onnx(module, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = [name for node in model.graph.node if node.op_type == cell.upper() for name in node.input[1:3]]
    qdq.insert_recurrent(model)
    after = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert len(weights) == 4
    for name in weights:
        values, scales = after[f"{name}_rows"], after[f"{name}_row_scales"]
        assert (values.dtype, values.shape, name in after) == (np.int8, before[name].shape, False)
        assert np.all(np.abs(values * scales - before[name]) <= np.abs(before[name]).max(axis=-1, keepdims=True) / 250)


# Through the stages


QUICK: dict[str, Any] = {"min_count": 1, "epochs": 4, "batch_size": 16, "learning_rate": 5e-3, "device": "cpu"}


@pytest.fixture(
    scope="module",
    params=[
        BiLSTMStudent(width=16, units=12, layers=2, **QUICK),
        BiGRUStudent(width=16, units=40, pooling="max_mean", tokens="teacher", teacher_embeddings=True, **QUICK),
    ],
    ids=["bilstm", "bigru"],
)
def student(request: pytest.FixtureRequest, finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student with its variants, from the teacher of the tiny run."""
    return ship(finished_run, tmp_path_factory.mktemp(request.param.kind), request.param)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_prediction_does_not_depend_on_its_neighbours(student: Path, variant: str) -> None:
    check_independence(student / variant)


def test_the_student_learns_and_its_variants_agree(student: Path, finished_run: Path) -> None:
    check_variants(student, finished_run, int8=0.3)


def test_the_files_shrink(student: Path) -> None:
    sizes = {v: (student / v / "model.onnx").stat().st_size for v in ("fp32", "fp16", "int8")}
    assert sizes["fp16"] < 0.8 * sizes["fp32"]
    assert sizes["int8"] < sizes["fp16"]


def test_rungs_that_spare_the_same_are_tried_once(
    student: Path, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lows = iter([-0.02, 0.0])
    monkeypatch.setattr("understudy.qdq._SMALL_TABLE", 100)
    monkeypatch.setattr("understudy.quantization._ENOUGH_ROWS", 10)
    monkeypatch.setattr(
        "understudy.quantization.paired_difference", lambda *_: Estimate(0.0, low := next(lows), low + 0.01, 1000)
    )
    made = quantize(student / "fp32", finished_run / "data", tmp_path / "int8", QuantizeConfig(samples=16))
    assert made.details["rung"] == LADDER[-1].name
    assert len(made.measurements["tried"]) == 2


def test_dynamic_int8_stores_recurrent_weights_in_int8_too(student: Path, finished_run: Path, tmp_path: Path) -> None:
    config = QuantizeConfig(samples=16, method="dynamic")
    made = quantize(student / "fp32", finished_run / "data", tmp_path / "int8", config)
    (stored, plain) = ((home / "model.onnx").stat().st_size for home in (made.path, student / "fp32"))
    assert stored < 0.8 * plain
    Classifier.load(made.path).predict(["lovely"])
