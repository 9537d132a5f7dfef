"""The teacher's stored logits, read by example id, and which texts it answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .artifact import Artifact
from .data.storing import read_split
from .data.task import UNLABELED, Split
from .errors import ArtifactError, MissingExtraError
from .label_mapping import read_mapping

if TYPE_CHECKING:
    import pyarrow as pa

Logits = NDArray[np.float32]

SPLITS = ("train", "val", "unlabeled")  # never test: only benchmark opens it
OWN = "own_logits"  # the column of a mapped teacher's logits for its own labels


def read_labels(labels: Path, split: str, ids: Sequence[str], column: str = "logits") -> Logits:
    """Logits (n, labels) of a split's examples in the order of `ids`; raises KeyError for an unknown id."""
    table = _shards(labels, split, column)
    values = table[column].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    row = {example: index for index, example in enumerate(table["id"].to_pylist())}
    return np.ascontiguousarray(values[[row[example] for example in ids]], dtype=np.float32)


def open_splits(data: Path) -> list[Split]:
    """The splits of prepared data that a teacher labels, where they have texts."""
    return [read_split(data / f"{name}.parquet", name) for name in SPLITS if (data / f"{name}.parquet").exists()]


def check_made_of(labels: Artifact, data: Artifact) -> None:
    """Raise ArtifactError unless the labels are those of the data."""
    if labels.inputs["data"] != data.digest:
        raise ArtifactError(f"{labels.path} was made of other data than {data.path}; run `understudy label` again")


def answered(labels: Path, split: Split) -> Split:
    """The texts that the teacher answers: all of them, but for those that a mapping with `abstain` leaves out."""
    mapping = read_mapping(labels)
    if mapping is None or mapping.policy != "abstain" or not len(split):
        return split
    return split.take(np.flatnonzero(~mapping.abstains(read_labels(labels, split.name, split.ids, OWN))))


def taught(labels: Path, split: Split) -> Split:
    """The split with the teacher's choice as the label of every text that has none; unanswered ones are left out."""
    if not (split.labels == UNLABELED).any():
        return split
    split = answered(labels, split)
    chosen = read_labels(labels, split.name, split.ids).argmax(axis=1) if len(split) else split.labels
    return Split(split.name, split.ids, split.texts, np.where(split.labels == UNLABELED, chosen, split.labels))


def _shards(labels: Path, split: str, column: str) -> pa.Table:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("reading soft labels", "build") from None
    shards = sorted(labels.glob(f"{split}-*.parquet"))
    return pa.concat_tables([pq.read_table(shard, columns=["id", column]) for shard in shards])
