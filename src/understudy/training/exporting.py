"""export: trained model → ONNX artifact in FP32, or another form, proved against torch before it is written.

understudy export runs/x/students/small/torch --data runs/x/data --out runs/x/students/small/fp32
understudy export runs/x/students/small/torch --data runs/x/data --out model --form torchscript
"""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from ..artifact import Artifact, Plan, finished, short_name, writing
from ..classifier import LABELS_KEY, MODEL_FILE, open_session
from ..config import ExportConfig
from ..data.storing import TEST_FILE, read_split
from ..data.task import Kind
from ..decision import Decision
from ..errors import WorkError, first_line
from ..golden import golden_of
from ..progress import Progress, Silent
from ..tokenization import TextEncoder, Tokens, copy_tokenizer
from . import networks, torch_files
from .birnn import BiRNN
from .loop import infer
from .networks import Network

Form = Literal["fp32", "torchscript", "exported", "torch-fp16"]


def export(
    model: Path,
    data: Path,
    out: Path,
    config: ExportConfig,
    *,
    form: Form = "fp32",
    seed: int = 13,
    progress: Progress | None = None,
) -> Artifact:
    """Export with dynamic batch and length; refuse if a logit differs by more than the tolerance or a label flips.

    `form`: fp32, ONNX; or what torch must run: torchscript; exported, by torch.export; torch-fp16, a torch directory
    with halved weights, whose difference is recorded, not limited.
    """
    progress = progress or Silent()
    source, texts = Artifact.load(model, "model"), Artifact.load(data, "data")
    stage = "export" if form == "fp32" else f"export-{form}"
    plan = Plan(stage, config.model_dump(), {"model": source.digest, "data": texts.digest}, seed)
    done = finished(out, plan, progress)
    if done is not None:
        return done
    for needed in (source, texts):
        needed.verify(without=(TEST_FILE,))
    assert source.text is not None
    kind = source.task.kind if source.task else "single"
    network = networks.load(source)
    with writing(out, plan, "model") as draft, progress.track(f"export {short_name(model)}", 3) as advance:
        if form == "fp32":
            to_onnx(network.module, draft.path / MODEL_FILE, source.task.labels if source.task else ())
        else:
            torch_files.write(network, _Inference(network.module).eval(), draft.path, form)
        copy_tokenizer(source, draft.path)
        draft.task, draft.text = source.task, source.text
        draft.details = source.details | {"variant": form}
        written = draft.as_artifact(plan)
        advance(1)
        sample = _sample(read_split(data / "train.parquet", "train").texts, config.samples, seed)
        tokens = TextEncoder(network.tokenizer, source.text).encode(sample)
        allowed = math.inf if form == "torch-fp16" else config.tolerance
        difference = _prove(network, _answers(written, form), tokens, allowed, kind)
        advance(1)
        draft.measurements = {"parity": {"texts": len(tokens), "max_logit_difference": difference}}
        draft.golden = golden_of(written)
        advance(1)
    return Artifact.load(out)


def to_onnx(module: nn.Module, file: Path, labels: Sequence[str] = ()) -> None:
    """Write a module as ONNX: input_ids and attention_mask (n, length), int64, to logits (n, labels).

    The names of `labels`, in the order of the logits, go into the file's metadata, where `Classifier` checks them.
    """
    example = (torch.ones(2, 8, dtype=torch.int64), torch.ones(2, 8, dtype=torch.int64))
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    wrapped = _Inference(for_export(module)).eval()
    chatter = logging.getLogger("torch.onnx")
    level = chatter.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter, nothing a user could act on
        chatter.setLevel(logging.ERROR)  # it misses torchvision, which texts do not need
        try:
            program = torch.onnx.export(
                wrapped, example, dynamo=True, verbose=False, input_names=["input_ids", "attention_mask"],
                output_names=["logits"], dynamic_shapes=({0: batch, 1: length}, {0: batch, 1: length}),
            )  # fmt: skip
        except torch.onnx.OnnxExporterError as error:
            name, cause = type(getattr(module, "model", module)).__name__, first_line(error.__cause__ or error)
            raise WorkError(f"torch cannot export {name} to ONNX: {cause}; use another model") from None
        finally:
            chatter.setLevel(level)
    assert program is not None
    proto = program.model_proto
    # shapes that the exporter noted for its example; ONNX Runtime's quantiser and checker trip over them
    del proto.graph.value_info[:]
    proto.doc_string = ""
    for node in proto.graph.node:  # source lines of the exporting machine
        node.doc_string = ""
        del node.metadata_props[:]
    if labels:
        proto.metadata_props.add(key=LABELS_KEY, value=json.dumps(list(labels)))
    onnx.save(proto, file)


def for_export(module: nn.Module) -> nn.Module:
    """The module as exporters understand it."""
    return module.for_export() if isinstance(module, BiRNN) else module


class _Inference(nn.Module):
    """The module under the input names of an artifact."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.module(input_ids, attention_mask)
        return logits


def _sample(texts: Sequence[str], size: int, seed: int) -> list[str]:
    """Texts of mixed lengths: every size-th of them by length, and a one-word text."""
    ordered = sorted(texts, key=len)
    rows = np.linspace(0, len(ordered) - 1, min(size, len(ordered))).astype(int)
    return [ordered[row] for row in rows] + ["a"]


def _answers(written: Artifact, form: Form) -> nn.Module:
    """What was written, opened again, as a module of ids and mask."""
    if form == "torch-fp16":
        return networks.load(written).module
    if form != "fp32":
        return torch_files.open_file(written.path)
    session = open_session(written.path / MODEL_FILE)

    def run(ids: Tensor, mask: Tensor) -> Tensor:
        logits = session.run(["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
        return torch.from_numpy(logits)

    return torch_files.Opened(run)


def _prove(
    network: Network, written: nn.Module, tokens: Sequence[Tokens], tolerance: float, kind: Kind = "single"
) -> float:
    """Largest |difference| of a logit between torch (padded batches) and what was written (one by one)."""
    cpu = torch.device("cpu")
    expected = infer(network.module, tokens, network.pad_id, cpu, 16)
    found = infer(written, tokens, network.pad_id, cpu, 1)
    difference = float(np.abs(expected - found).max())
    one, two = (Decision(kind).choose(logits) for logits in (expected, found))
    flips = int((one != two).sum())
    if difference > tolerance or (flips and math.isfinite(tolerance)) or not math.isfinite(difference):
        raise WorkError(
            f"the exported model does not match torch on {len(tokens)} texts: logits differ by up to {difference:.2e} "
            f"(allowed {tolerance:.0e}), {flips} labels flip; nothing was written"
        )
    return difference
