"""Prepared tiny data, and the stages of a teacher that is not a model on it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tiny
from understudy.answering import appoint, label
from understudy.artifact import Artifact
from understudy.config import TEACHER_KINDS, DataConfig, LabelConfig, TaskConfig, parse
from understudy.data.storing import read_split
from understudy.data.task import Split
from understudy.preparation import prepare
from understudy.progress import Silent
from understudy.soft_labels import read_labels

TASK = TaskConfig(name="tiny", labels=list(tiny.LABELS))


class Listener(Silent):
    """Keeps what a stage says."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def prepared(home: Path, sizes: tuple[int, int, int, int] = (40, 16, 12, 8)) -> Path:
    """Splits of so many texts: train, val, test, and texts without a label."""
    home.mkdir(exist_ok=True)
    pairs = iter(tiny.rows(sum(sizes), seed=6))
    for name, size in zip(("train", "val", "test"), sizes, strict=False):
        tiny.write_csv(home / f"{name}.csv", list(islice(pairs, size)))
    tiny.write_csv(home / "more.csv", [(text, "") for text, _ in pairs])
    files = DataConfig(train="train.csv", val="val.csv", test="test.csv", unlabeled=["more.csv"])
    prepare(TASK, files, home / "data", home)
    return home / "data"


def split_of(data: Path, name: str) -> Split:
    return read_split(data / f"{name}.parquet", name)


def settings(kind: str, **given: Any) -> Any:
    return parse(TEACHER_KINDS[kind], {"kind": kind, **given}, "teacher")


def labelled(data: Path, config: Any, progress: Any = None, **label_settings: Any) -> Artifact:
    """The labels of a teacher whose files are beside the data, in the directory of the data."""
    appoint(data, data.parent / "teacher", config, data.parent, progress=progress)
    return label(
        data.parent / "teacher", data, data.parent / "labels", LabelConfig(**label_settings), progress=progress
    )


def probabilities(labels: Artifact, data: Path, name: str) -> NDArray[np.float64]:
    logits = read_labels(labels.path, name, split_of(data, name).ids).astype(np.float64)
    return np.asarray(np.exp(logits))
