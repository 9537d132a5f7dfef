"""A ready classifier of another hand: three labels for our two, and unsure of some texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from understudy.artifact import Artifact
from understudy.data.storing import read_split
from understudy.tokenization import TextEncoder
from understudy.training import networks, surgery
from understudy.training.loop import infer

LABELS = ["negative", "neutral", "positive"]
MAPS: dict[str, dict[str, str]] = {
    "drop_and_renormalise": {"negative": "bad", "positive": "good"},
    "abstain": {"negative": "bad", "neutral": "", "positive": "good"},
    "merge": {"negative": "bad", "neutral": "good", "positive": "good"},
}


def save_foreign(run: Path, home: Path) -> Path:
    """The teacher of a run with a middle label, which is its best on about a fifth of the validation texts."""
    teacher = Artifact.load(run / "teacher")
    network = networks.load(teacher)
    assert teacher.text is not None
    tokens = TextEncoder(network.tokenizer, teacher.text).encode(read_split(run / "data/val.parquet", "val").texts)
    logits = infer(network.module, tokens, network.pad_id, torch.device("cpu"))
    model: Any = network.module.model
    surgery.regroup_outputs(model, [[0], [0, 1], [1]], LABELS)
    with torch.no_grad():
        model.classifier.bias[1] += float(np.quantile(np.abs(logits[:, 0] - logits[:, 1]), 0.2)) / 2
        for parameter in model.classifier.parameters():  # sure enough that a merged label does not win everywhere
            parameter *= 8
    home.mkdir(parents=True, exist_ok=True)
    networks.save(network, home)
    return home
