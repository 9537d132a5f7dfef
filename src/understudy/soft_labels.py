"""The directory of soft labels: Parquet shards of the teacher's logits, a row per text that it answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .artifact import Artifact
from .data.storing import read_split
from .data.task import UNLABELED, Split
from .decision import Decision
from .errors import ArtifactError, MissingExtraError
from .label_mapping import read_mapping

if TYPE_CHECKING:
    import pyarrow as pa

Logits = NDArray[np.float32]

TEACHERS = ("model", "answers")  # kinds of directory that labels are made of, and students learn from
SPLITS = ("train", "val", "unlabeled")  # never test: only benchmark opens it
OWN = "own_logits"  # the column of a mapped teacher's logits for its own labels


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


def labelled(labels: Path, split: Split) -> Split:
    """The texts that are in the shards: a table need not have a row for all of them."""
    if not len(split):
        return split
    known = set(_shards(labels, split.name)["id"].to_pylist())
    return split.take([row for row, example in enumerate(split.ids) if example in known])


def answered(labels: Path, split: Split) -> Split:
    """The texts that the teacher answers: those in the shards but those that a mapping with `abstain` leaves out."""
    split, mapping = labelled(labels, split), read_mapping(labels)
    if mapping is None or mapping.policy != "abstain" or not len(split):
        return split
    return split.take(np.flatnonzero(~mapping.abstains(read_labels(labels, split.name, split.ids, OWN))))


def taught(labels: Path, split: Split) -> Split:
    """The split with the teacher's choice as the label of every text that has none; unanswered ones are left out.

    Of several labels it chooses those that it thinks likelier than not.
    """
    if not (split.labels == UNLABELED).any():
        return split
    split = answered(labels, split)
    if not len(split):
        return split
    logits = read_labels(labels, split.name, split.ids)
    chosen = (logits > 0).astype(np.int64) if split.labels.ndim == 2 else logits.argmax(axis=1)
    return Split(split.name, split.ids, split.texts, np.where(split.labels == UNLABELED, chosen, split.labels))


def write_shard(
    path: Path,
    aside: Path,
    ids: Sequence[str],
    logits: Logits,
    own: Logits | None = None,
    more: Mapping[str, pa.Array] | None = None,
) -> None:
    """Write a shard aside, in the directory that keeps an interrupted run's work, and move it to its place.

    `own` are the logits for the labels of the teacher's own, where `logits` are what a mapping made of them; `more` are
    further columns.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("writing soft labels", "build") from None
    given = {"logits": logits} if own is None else {"logits": logits, OWN: own}
    columns = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), pa.float32()), values.shape[1])
        for name, values in given.items()
    }
    pq.write_table(pa.table({"id": pa.array(ids, pa.string()), **columns, **(more or {})}), aside, compression="zstd")
    aside.replace(path)


def confidence(directory: Path, splits: Sequence[Split], decision: Decision) -> dict[str, float]:
    """Mean probability of the chosen label per split: on texts that it was trained on, a teacher is too sure."""
    means = {}
    for split in splits:
        if len(split):
            means[split.name] = decision.confidence(read_labels(directory, split.name, split.ids))
    return means


def _shards(labels: Path, split: str, *columns: str) -> pa.Table:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("reading soft labels", "build") from None
    shards = sorted(labels.glob(f"{split}-*.parquet"))
    return pa.concat_tables([pq.read_table(shard, columns=["id", *columns]) for shard in shards])
