"""GatedCNN is residual blocks of gated depthwise-separable convolutions, and no padding reaches its logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from neighbours import check_independence
from shipping import VARIANTS, check_variants, ship
from training_kit import check_padding_stays_zero
from understudy import qdq
from understudy.classifier import open_session
from understudy.config import ExportConfig, GatedCNNStudent
from understudy.student_settings import Pooling
from understudy.training import export
from understudy.training.exporting import to_onnx
from understudy.training.gated_cnn import GatedCNN
from understudy.training.loop import pad

WIDTH, CHANNELS, VOCABULARY, LABELS = 6, 5, 30, 3


def network(kernel: int = 3, pooling: Pooling = "max_mean") -> GatedCNN:
    torch.manual_seed(0)
    module = GatedCNN(VOCABULARY, WIDTH, CHANNELS, kernel, 2, LABELS, 0.3, pooling).eval()
    for block in module.blocks:
        nn.init.normal_(block.norm.weight)  # type: ignore[arg-type, union-attr]
        nn.init.normal_(block.norm.bias)  # type: ignore[arg-type, union-attr]
    return module


def texts(seed: int, lengths: list[int]) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(1, VOCABULARY, length) for length in lengths]


def alone(module: nn.Module, row: np.ndarray) -> Tensor:
    return module(torch.from_numpy(row[None]), torch.ones(1, len(row), dtype=torch.int64))


def reference(module: GatedCNN, ids: Tensor) -> Tensor:
    """The same network of torch's own layers, for one text without padding."""
    states = module.embeddings(ids)[None]
    for block in module.blocks:
        taps: Tensor = block.taps  # type: ignore[assignment]
        kernel, channels = taps.shape
        convolution = nn.Conv1d(channels, channels, kernel, groups=channels, bias=False)
        convolution.weight.data = taps.data.T.unsqueeze(1)
        gated = nn.functional.glu(block.gate(block.norm(states)), dim=-1).transpose(1, 2)  # type: ignore[operator]
        mixed = convolution(nn.functional.pad(gated, ((kernel - 1) // 2, kernel // 2))).transpose(1, 2)
        states = states + block.mix(mixed)  # type: ignore[operator]
    read = [states.amax(dim=1), states.mean(dim=1)][: 1 if module.pooling == "max" else 2]
    return module.classifier(torch.cat(read, dim=-1))


@pytest.mark.parametrize("kernel", [1, 2, 3, 8])
@pytest.mark.parametrize("pooling", ["max", "max_mean"])
def test_it_equals_torchs_own_layers(kernel: int, pooling: Pooling) -> None:
    module = network(kernel, pooling)
    with torch.no_grad():
        for row in texts(1, [1, 2, 5, 23]):
            torch.testing.assert_close(
                alone(module, row), reference(module, torch.from_numpy(row)), atol=1e-5, rtol=1e-5
            )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(0, 12))
def test_padding_changes_no_logit(seed: int, lengths: list[int], extra: int) -> None:
    module, rows = network(5), texts(seed, lengths)
    ids, mask = pad([*rows, np.ones(max(lengths) + extra, dtype=np.int64)], 0)
    garbage = torch.where(mask.bool(), ids, 7)  # whatever stands behind a text
    with torch.no_grad():
        together, disturbed = module(ids, mask), module(garbage, mask)
        apart = torch.cat([alone(module, row) for row in rows])
    torch.testing.assert_close(together[:-1], apart, atol=1e-5, rtol=1e-5)
    assert torch.equal(together, disturbed)


def test_it_sees_the_order_of_words() -> None:
    module = network()
    ids = torch.tensor([[4, 5, 6, 7], [7, 6, 5, 4]])
    with torch.no_grad():
        one, other = module(ids, torch.ones_like(ids))
    assert (one - other).abs().max() > 1e-3


def test_the_embedding_of_padding_stays_zero_in_training() -> None:
    check_padding_stays_zero(network().train(), *pad(texts(2, [2, 9, 5]), 0))


def test_its_config_rebuilds_it() -> None:
    module = network(4)
    twin = GatedCNN(**module.config()).eval()
    twin.load_state_dict(module.state_dict())
    (row,) = texts(3, [8])
    with torch.no_grad():
        assert torch.equal(alone(twin, row), alone(module, row))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network of the real size."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("written") / "model.onnx"
    to_onnx(GatedCNN(500, 128, 96, 5, 2, 6, 0.0, "max_mean"), file)
    return file


@pytest.mark.parametrize("variant", ["fp32", "fp16", "int8"])
def test_a_batch_of_the_real_size_changes_no_byte(written: Path, tmp_path: Path, variant: str) -> None:
    model = onnx.load(written)
    if variant == "fp16":
        qdq.halve(model)
    if variant == "int8":
        qdq.insert_products(model, {product.node: qdq.Range(-3.0, 4.0) for product in qdq.products(model)})
        assert qdq.insert_tables(model) == 1
    onnx.save(model, tmp_path / "model.onnx")
    session = open_session(tmp_path / "model.onnx")

    def logits(ids: np.ndarray) -> np.ndarray:
        return session.run(["logits"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]

    for length in (1, 3, 16, 64):
        ids = np.random.default_rng(length).integers(0, 500, (29, length))
        single = np.concatenate([logits(row[None]) for row in ids])
        for size in (2, 5, 12, 29):
            assert logits(ids[:size]).tobytes() == single[:size].tobytes()


# Through the stages


@pytest.fixture(scope="module")
def student(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student with its variants, from the teacher of the tiny run."""
    config = GatedCNNStudent(
        width=16, channels=12, kernel=3, pooling="max_mean", tokens="teacher", teacher_embeddings=True, min_count=1,
        epochs=4, batch_size=16, learning_rate=5e-3, device="cpu",
    )  # fmt: skip
    return ship(finished_run, tmp_path_factory.mktemp("gated"), config)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_prediction_does_not_depend_on_its_neighbours(student: Path, variant: str) -> None:
    check_independence(student / variant)


def test_the_student_learns_and_its_variants_agree(student: Path, finished_run: Path) -> None:
    check_variants(student, finished_run, int8=0.3)


@pytest.mark.parametrize("form", ["torchscript", "exported"])
def test_torch_runs_it_elsewhere_too(student: Path, finished_run: Path, tmp_path: Path, form: str) -> None:
    made = export(
        student / "torch", finished_run / "data", tmp_path / "out", ExportConfig(samples=9), form=form  # type: ignore[arg-type]
    )  # fmt: skip
    assert made.measurements["parity"]["max_logit_difference"] < 1e-4


def test_both_products_of_a_block_are_int8(student: Path) -> None:
    kinds = [node.op_type for node in onnx.load(student / "int8/model.onnx").graph.node]
    assert kinds.count("QuantizeLinear") == 2 * 2
