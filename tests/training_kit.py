"""A tiny training: data that can be learnt, a network, and one call of the loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import tiny
from understudy.config import DataConfig, OptimizationConfig, TaskConfig
from understudy.preparation import prepare
from understudy.progress import Silent
from understudy.training import networks
from understudy.training.loop import AfterEpoch, Examples, Fit, fit
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
    after_epoch: AfterEpoch = lambda record: None,
    data: Examples = TRAIN,
    seed: int = 3,
    **changes: Any,
) -> tuple[dict[str, Tensor], Fit]:
    settings = {"epochs": 3, "batch_size": BATCH, "learning_rate": 5e-3, "precision": "fp32", "device": "cpu"} | changes
    model = model or network()
    work.mkdir(exist_ok=True, parents=True)
    result = fit(
        model, data, VAL, objective or supervised(), OptimizationConfig(**settings), seed=seed, pad_id=0, work=work,
        progress=progress or Silent(), description="", after_epoch=after_epoch,
    )  # fmt: skip
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}, result


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class PowerCutError(Exception):
    """The interruption of these tests."""


class Failing(Silent):
    """Raises when as many units are done as it was given; remembers where the work went on from."""

    def __init__(self, units: int) -> None:
        self.left, self.resumed = units, -1

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        def advance(units: int) -> None:
            if self.resumed < 0:
                self.resumed = units
            else:
                self.left -= units
            if self.left <= 0:
                raise PowerCutError

        yield advance


def prepare_few(home: Path, mark: str = "wombat") -> Path:
    """Splits of 100, 40 and 10 texts and 50 without a label; the file of the test split cannot be read.

    Every text of val has the word quokka, every unlabelled one the word `mark`.
    """
    pairs = tiny.rows(200, seed=6)
    tiny.write_csv(home / "train.csv", pairs[:100])
    tiny.write_csv(home / "val.csv", [(f"quokka {text}", label) for text, label in pairs[100:140]])
    tiny.write_csv(home / "more.csv", [(f"{mark} {text}", "") for text, _ in pairs[140:190]])
    tiny.write_csv(home / "test.csv", pairs[190:])
    task = TaskConfig(name="tiny", labels=list(tiny.LABELS))
    files = DataConfig(train="train.csv", val="val.csv", test="test.csv", unlabeled=["more.csv"])
    prepare(task, files, home / "data", home)
    test = home / "data" / "test.parquet"
    test.write_bytes(b"?" * test.stat().st_size)
    return home / "data"


def check_padding_stays_zero(module: Any, ids: Tensor, mask: Tensor) -> None:
    """A few steps of training move the word embeddings, and not that of padding."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1, weight_decay=0.1)
    before = module.embeddings.weight.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(ids, mask), torch.tensor([0, 1, 2])).backward()
        optimizer.step()
    assert module.embeddings.weight[0].abs().sum() == 0
    assert not torch.equal(module.embeddings.weight, before)
