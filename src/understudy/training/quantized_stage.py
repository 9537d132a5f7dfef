"""The last stage of a distillation: on the soft labels still, with the INT8 file simulated whose ranges are then fixed.

Zhou et al. 2017 and Zafrir et al. 2019 (Q8BERT) train so for INT8; Kim et al. 2019 (QKD) with a teacher, as here.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto
from torch import nn

from .. import ranges
from ..artifact import Draft, TextConfig
from ..classifier import MODEL_FILE
from ..config import StudentConfig
from ..data.task import Split
from ..distill_settings import RANGE_TEXTS
from ..progress import Progress
from ..tokenization import TextEncoder
from . import later_stage
from .exporting import to_onnx
from .fake_quantization import FakeQuantized, find_places
from .finetuning import Lesson, learn
from .networks import Network


def check_possible(network: Network, config: StudentConfig) -> None:
    """Refuse a student whose INT8 file cannot be simulated, before it is trained; raises RecipeError."""
    find_places(network.module, _graph(network.module), config.name)


def learn_quantized(
    draft: Draft,
    network: Network,
    text: TextConfig,
    lesson: Lesson,
    config: StudentConfig,
    *,
    train: Split,
    seed: int,
    progress: Progress,
    **said: Any,
) -> None:
    """Learn on with INT8 simulated; with the weights, if validation likes them, the ranges are noted in the draft.

    The ranges are those that `quantize` would choose for the student as it came, from RANGE_TEXTS texts of `train`.
    """
    proto = _graph(network.module)
    places = find_places(network.module, proto, config.name)
    encoder = TextEncoder(network.tokenizer, text)
    observed = ranges.observe(proto, encoder, train, RANGE_TEXTS, seed)
    intervals = [interval for interval, _ in ranges.best(proto, observed)]
    simulated = FakeQuantized(network.module, places, intervals)
    peak = config.quant_learning_rate or config.learning_rate / 10
    # bf16 has steps as coarse as those of INT8, and would hide them
    brief = config.model_copy(update={"epochs": config.quant_epochs, "learning_rate": peak, "precision": "fp32"})
    stage = partial(
        learn, draft, network, text, lesson, brief, phase="quantized", pupil=simulated, seed=seed, progress=progress,
        **said,
    )  # fmt: skip
    checks = lesson.checks(network, text)
    if later_stage.kept_if_better(
        draft, simulated, checks, stage, name="quantized_stage", said="with INT8 simulated", pad_id=network.pad_id,
        progress=progress,
    ):  # fmt: skip
        draft.details |= {ranges.TRAINED: [[interval.low, interval.high] for interval in intervals]}


def _graph(module: nn.Module) -> ModelProto:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / MODEL_FILE
        to_onnx(module.eval(), file)
        return onnx.load(file)
