"""A tiny training: data that can be learnt, a network, and one call of the loop."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from understudy.config import OptimizationConfig
from understudy.progress import Silent
from understudy.training import networks
from understudy.training.loop import Examples, Fit, fit
from understudy.training.losses import Objective, supervised

CPU = torch.device("cpu")
ROWS, BATCH = 60, 8
STEPS = math.ceil(ROWS / BATCH)


def examples(rows: int, seed: int) -> Examples:
    """Texts of 2 to 20 tokens; every label depends on one token."""
    random = np.random.default_rng(seed)
    tokens = [random.integers(2, 12, random.integers(2, 21)) for _ in range(rows)]
    labels = np.array([int(5 in row) for row in tokens], dtype=np.int64)
    return Examples(tokens, labels, random.normal(size=(rows, 2)).astype(np.float32) + 3 * np.eye(2)[labels])


def of_labels(data: Examples) -> Examples:
    return Examples(data.tokens, data.labels)


TRAIN, VAL = examples(ROWS, 1), of_labels(examples(40, 2))


def network(seed: int = 0, dropout: float = 0.2) -> nn.Module:
    torch.manual_seed(seed)
    return networks.fresh_transformer(
        12, ["no", "yes"], layers=1, width=16, heads=2, max_length=24, dropout=dropout
    )  # fmt: skip


def train(
    work: Path,
    model: nn.Module | None = None,
    objective: Objective | None = None,
    progress: Any = None,
    data: Examples = TRAIN,
    seed: int = 3,
    **changes: Any,
) -> tuple[dict[str, Tensor], Fit]:
    settings = {"epochs": 3, "batch_size": BATCH, "learning_rate": 5e-3, "precision": "fp32", "device": "cpu"} | changes
    model = model or network()
    work.mkdir(exist_ok=True, parents=True)
    result = fit(
        model, data, VAL, objective or supervised(), OptimizationConfig(**settings), seed=seed, pad_id=0, work=work,
        progress=progress or Silent(), description="",
    )  # fmt: skip
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}, result


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
