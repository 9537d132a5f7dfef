"""The forms of a student that torch must run: equal to the trained model, measured as what they are."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

import tiny
from architectures import CONFIGS, save_encoder
from understudy import calibrate
from understudy.artifact import Artifact
from understudy.classifier import Classifier
from understudy.comparison import compare_on_file
from understudy.config import BenchmarkConfig, ExportConfig, load_recipe
from understudy.errors import WorkError
from understudy.pipeline import run
from understudy.progress import Silent
from understudy.speed import TORCH_VARIANTS, logits_of
from understudy.training import export, networks, torch_files
from understudy.training.birnn import BiRNN
from understudy.training.exporting import _Inference
from understudy.training.networks import Network

SHAPES = ((1, 1), (1, 2), (2, 7), (3, 13), (5, 16))


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Token ids of several shapes, with padding where there are several rows."""
    torch.manual_seed(0)
    made = []
    for rows, length in SHAPES:
        ids, mask = torch.randint(2, 20, (rows, length)), torch.ones(rows, length, dtype=torch.int64)
        if rows > 1:
            mask[0, length // 2 :] = 0
        made.append((ids * mask, mask))
    return made


def check(found: torch.nn.Module, expected: torch.nn.Module, tolerance: float = 1e-5) -> None:
    with torch.no_grad():
        for ids, mask in batches():
            torch.testing.assert_close(found(ids, mask), expected(ids, mask), atol=tolerance, rtol=0)


@pytest.fixture(scope="module")
def forms(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    home = tmp_path_factory.mktemp("forms")
    return {
        form: export(
            finished_run / "students/half/torch", finished_run / "data", home / form, ExportConfig(samples=20),
            form=form,  # type: ignore[arg-type]
        )
        for form in TORCH_VARIANTS
    }  # fmt: skip


@pytest.mark.parametrize("form", TORCH_VARIANTS)
def test_a_form_answers_as_the_trained_model_at_any_length(
    finished_run: Path, forms: dict[str, Artifact], form: str
) -> None:
    trained = networks.load(Artifact.load(finished_run / "students/half/torch"))
    check(torch_files.open_form(forms[form]), trained.module, 0.02 if form == "torch-fp16" else 1e-5)
    assert forms[form].details["variant"] == form
    parity = forms[form].measurements["parity"]
    assert parity["texts"] == 21
    assert 0 < parity["max_logit_difference"] < (0.02 if form == "torch-fp16" else 1e-4)


def test_halved_weights_are_those_and_half_as_large(finished_run: Path, forms: dict[str, Artifact]) -> None:
    home = finished_run / "students/half/torch"
    whole, halves = (load_file(path / "model.safetensors") for path in (home, forms["torch-fp16"].path))
    assert all(torch.equal(halves[name], tensor.half()) for name, tensor in whole.items())
    sizes = [Artifact.load(path).files["model.safetensors"]["bytes"] for path in (home, forms["torch-fp16"].path)]
    assert sizes[1] < 0.6 * sizes[0]
    opened = AutoModelForSequenceClassification.from_pretrained(forms["torch-fp16"].path)
    assert opened.dtype == torch.float16
    widened = AutoModelForSequenceClassification.from_pretrained(forms["torch-fp16"].path, dtype=torch.float32)
    ids, mask = batches()[1]
    mine = torch_files.open_form(forms["torch-fp16"])
    torch.testing.assert_close(widened(input_ids=ids, attention_mask=mask).logits, mine(ids, mask))


def test_a_form_is_calibrated_as_it_is(finished_run: Path, forms: dict[str, Artifact]) -> None:
    calibrated = calibrate(forms["torchscript"].path, finished_run / "data")
    assert calibrated.temperature == pytest.approx(
        Artifact.load(finished_run / "students/half/fp32").temperature, rel=1e-2
    )


@pytest.mark.wide
def test_forms_are_compared_on_a_file(finished_run: Path, forms: dict[str, Artifact], tmp_path: Path) -> None:
    source, calibrated = finished_run / "students/half/fp32", calibrate(forms["exported"].path, finished_run / "data")
    pairs = tiny.rows(40, seed=77)
    texts = [text for text, _ in pairs]
    np.testing.assert_allclose(logits_of(calibrated, texts), Classifier.load(source).logits(texts), atol=1e-4)
    models = [str(source), str(calibrated.path), str(forms["torch-fp16"].path)]
    config = BenchmarkConfig(speed_texts=8, repeats=1, bootstrap=100)
    results = compare_on_file(models, tiny.write_csv(tmp_path / "x.csv", pairs), config)
    onnx, script, halves = results["models"]
    assert script["metrics"]["file"]["nll"]["value"] == pytest.approx(onnx["metrics"]["file"]["nll"]["value"], rel=1e-2)
    assert halves["bytes"] < script["bytes"]
    assert all(model["speed"][0]["p50"] > 0 for model in results["models"])
    assert onnx["nodes"]["CPUExecutionProvider"] > 10
    assert script["nodes"] is None


@pytest.mark.parametrize("form", ["torchscript", "exported"])
def test_word_networks_have_these_forms_too(finished_run: Path, tmp_path: Path, form: Any) -> None:
    home = finished_run / "students/cnn/torch"
    made = export(home, finished_run / "data", tmp_path / form, ExportConfig(samples=9), form=form)
    check(torch_files.open_form(made), networks.load(Artifact.load(home)).module)


@pytest.mark.wide
@pytest.mark.parametrize("name", [*CONFIGS, "bilstm", "bigru"])
@pytest.mark.parametrize("form", ["torchscript", "exported"])
def test_every_architecture_has_these_forms(tmp_path: Path, name: str, form: str) -> None:
    recurrent = name in ("bilstm", "bigru")
    if recurrent:
        torch.manual_seed(0)
        module: Any = BiRNN(60, 12, 4, 2, 2, 0.0, "gru" if name == "bigru" else "lstm", "max_mean").eval()
        network = Network(module, None, 0, name)  # type: ignore[arg-type]
    else:
        network = networks.load_pretrained(str(save_encoder(name, tmp_path / name)), tiny.LABELS, 0.0, 0)
    network.module.eval()
    written = partial(torch_files.write, network, _Inference(network.module).eval(), tmp_path, form)
    if recurrent and form == "exported":  # torch.export takes no packed sequences
        with pytest.raises(WorkError, match="cannot turn BiRNN into exported"):
            written()
        return
    written()
    check(torch_files.open_file(tmp_path), network.module)


class Undecided(torch.nn.Module):
    """What it does hangs on its input, which no graph can say."""

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return ids.float() if mask.sum() > 3 else mask.float()[:1]


def test_what_torch_cannot_export_is_one_line(tmp_path: Path) -> None:
    network = Network(Undecided(), None, 0, "x")  # type: ignore[arg-type]
    with pytest.raises(WorkError) as error:
        torch_files.write(network, _Inference(Undecided()), tmp_path, "exported")
    assert str(error.value).startswith("torch cannot turn Undecided into exported: ")
    assert "\n" not in str(error.value)


def test_a_trace_that_holds_for_its_example_alone_is_refused(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fixed(network: Network, inference: torch.nn.Module, directory: Path, form: str) -> None:
        ids = torch.ones(2, 8, dtype=torch.int64)
        with torch.no_grad():
            answer = inference(ids, ids)[:1]
        traced = torch.jit.trace(lambda ids, mask: answer.expand(ids.shape[0], 2) + 0.0 * ids[:, :1], (ids, ids))
        traced.save(str(directory / torch_files.SCRIPT))

    monkeypatch.setattr(torch_files, "write", fixed)
    home = finished_run / "students/half/torch"
    with pytest.raises(WorkError, match="the exported model does not match torch on 10 texts"):
        export(home, finished_run / "data", tmp_path / "out", ExportConfig(samples=9), form="torchscript")
    assert not list(tmp_path.iterdir())


def test_weights_beyond_fp16_are_refused(finished_run: Path, tmp_path: Path) -> None:
    network = networks.load(Artifact.load(finished_run / "students/half/torch"))
    network.module.model.classifier.bias.data[0] = 1e6  # type: ignore[union-attr, operator]
    with pytest.raises(WorkError, match=r"classifier\.bias has weights beyond what FP16 can hold"):
        torch_files.write(network, network.module, tmp_path, "torch-fp16")
    assert not list(tmp_path.iterdir())


@pytest.mark.wide
def test_a_run_makes_and_measures_every_variant(workshop: Path, tmp_path: Path) -> None:
    recipe = load_recipe(workshop / "recipe.toml")
    variants = ["fp32", "int8", *TORCH_VARIANTS]
    recipe = recipe.model_copy(update={"variants": variants, "students": recipe.students[:1], "controls": "none"})
    results = run(recipe, tmp_path / "run", workshop, Silent())
    rows = {model["variant"]: model for model in results["models"] if model["name"] == "half"}
    assert set(rows) == set(variants)
    for variant in TORCH_VARIANTS:
        row, made = rows[variant], Artifact.load(tmp_path / "run/students/half" / variant)
        assert row["bytes"] == made.bytes_of(*made.files)
        assert row["metrics"]["test"]["accuracy"]["n"] == rows["fp32"]["metrics"]["test"]["accuracy"]["n"]
        assert row["speed"][0]["p50"] > 0
        assert row["calibration"] and row["temperature"] == made.temperature
        card = (made.path / "README.md").read_text(encoding="utf-8")
        assert {"torchscript": "torch.jit.load", "exported": "torch.export.load", "torch-fp16": "FP16"}[variant] in card
    report = (tmp_path / "run/report/report.md").read_text(encoding="utf-8")
    assert all(name in report for name in ("TorchScript", "torch.export", "PyTorch FP16"))
    assert json.loads((tmp_path / "run/report/results.json").read_text())["models"]
