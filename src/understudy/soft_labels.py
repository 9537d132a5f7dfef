"""The directory of soft labels: Parquet shards of the teacher's logits, a row per example id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .artifact import Artifact
from .data.storing import read_split
from .data.task import Split
from .decision import log_softmax

TEACHERS = ("model", "answers")  # kinds of directory that labels are made of, and students learn from
SPLITS = ("train", "val", "unlabeled")  # never test: only benchmark opens it


@dataclass(frozen=True)
class Sheet:
    """Texts that one model labels; `name` begins the names of the shards, with the name of their split."""

    name: str
    texts: Split

    def shards(self, directory: Path, size: int) -> Iterator[tuple[Path, Split]]:
        """The files, and the texts of each."""
        for number, start in enumerate(range(0, len(self.texts), size)):
            part = self.texts.take(range(start, min(start + size, len(self.texts))))
            yield directory / f"{self.name}-{number:05d}.parquet", part


def splits_to_label(data: Path) -> list[Split]:
    """The splits of prepared data that a teacher labels."""
    return [read_split(data / f"{name}.parquet", name) for name in SPLITS if (data / f"{name}.parquet").exists()]


def read_labels(labels: Path, split: str, ids: Sequence[str]) -> NDArray[np.float32]:
    """Logits (n, labels) of a split's examples in the order of `ids`; raises KeyError for an unknown id."""
    table = _read(labels, split)
    columns = table["logits"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    row = {example: index for index, example in enumerate(table["id"].to_pylist())}
    return np.ascontiguousarray(columns[[row[example] for example in ids]], dtype=np.float32)


def answered(labels: Artifact, split: Split) -> Split:
    """The texts of a split that the teacher has labelled: a table need not hold all of them."""
    if not labels.measurements.get("unanswered", {}).get(split.name):
        return split
    known = set(_read(labels.path, split.name)["id"].to_pylist())
    return split.take([row for row, example in enumerate(split.ids) if example in known])


def write_shard(path: Path, aside: Path, ids: object, logits: NDArray[np.float32]) -> None:
    """Write a shard aside, in the directory that keeps an interrupted run's work, and move it to its place."""
    values = pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel(), pa.float32()), logits.shape[1])
    pq.write_table(pa.table({"id": pa.array(ids, pa.string()), "logits": values}), aside, compression="zstd")
    aside.replace(path)


def confidence(directory: Path, splits: Sequence[Split]) -> dict[str, float]:
    """Mean probability of the chosen label per split: on texts that it was trained on, a teacher is too sure."""
    means = {}
    for split in splits:
        if len(split):
            logits = read_labels(directory, split.name, split.ids)
            means[split.name] = float(np.exp(log_softmax(logits).max(axis=1)).mean())
    return means


def _read(labels: Path, split: str) -> pa.Table:
    return pa.concat_tables([pq.read_table(shard) for shard in sorted(labels.glob(f"{split}-*.parquet"))])
