"""export: what torch computes, in ONNX, or nothing at all."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from understudy import Classifier
from understudy.artifact import Artifact
from understudy.config import ExportConfig
from understudy.data.storing import read_split
from understudy.errors import WorkError
from understudy.training import export, loop, networks
from understudy.training.exporting import to_onnx


def test_onnx_answers_as_torch_does(finished_run: Path, tmp_path: Path) -> None:
    made = export(finished_run / "teacher", finished_run / "data", tmp_path / "onnx", ExportConfig(samples=50))
    parity = made.measurements["parity"]
    assert parity["texts"] == 51  # and a text of one word
    texts = read_split(finished_run / "data" / "val.parquet", "val").texts
    classifier = Classifier.load(made.path, threads=1)
    network = networks.load(Artifact.load(finished_run / "teacher"))
    tokens = classifier._encoder.encode(texts)
    expected = loop.infer(network.module, tokens, network.pad_id, torch.device("cpu"))
    assert np.abs(classifier.logits(texts) - expected).max() < 1e-4
    assert 0 < parity["max_logit_difference"] < 1e-4


def test_a_difference_above_the_tolerance_leaves_nothing(finished_run: Path, tmp_path: Path) -> None:
    strict = ExportConfig(tolerance=1e-12)
    with pytest.raises(
        WorkError, match=r"logits differ by up to \d\.\d+e-\d+ \(allowed 1e-12\), 0 labels flip; nothing"
    ):
        export(finished_run / "teacher", finished_run / "data", tmp_path / "onnx", strict)
    assert not list(tmp_path.iterdir())


def test_the_proof_sees_another_model(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def another(module: nn.Module, file: Path, labels: tuple[str, ...]) -> None:
        other = copy.deepcopy(module)
        list(other.parameters())[-1].data[0] += 0.01
        to_onnx(other, file, labels)

    monkeypatch.setattr("understudy.training.exporting.to_onnx", another)
    with pytest.raises(WorkError, match="the exported model does not match torch on 201 texts"):
        export(finished_run / "teacher", finished_run / "data", tmp_path / "onnx", ExportConfig())


class Undecided(nn.Module):
    """Its shape hangs on its input, which no graph can say."""

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return ids.float() if mask.sum() > 3 else mask.float()[:1]


def test_a_model_that_torch_cannot_export_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WorkError) as error:
        to_onnx(Undecided(), tmp_path / "model.onnx")
    assert str(error.value).startswith("torch cannot export Undecided to ONNX: ")
    assert "\n" not in str(error.value)
