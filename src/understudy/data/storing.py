"""Splits on disk, and their digests."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, MissingExtraError
from .formats import iter_rows
from .task import Split

TEST_FILE = "test.parquet"  # of prepared data: `benchmark` alone reads it
SPLIT_FILES = ("train.parquet", "val.parquet", TEST_FILE)  # likewise: the rows that a model is made and measured by
_COLUMNS = ("id", "text", "label")


def write_split(split: Split, path: Path) -> None:
    """Write a Parquet file with the columns id, text and label (-1: none); equal splits give equal bytes.

    The label of a multi-label task is a list of 0 and 1, in the order of the task's labels.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("writing Parquet", "parquet") from None
    table = pa.table(
        {
            "id": pa.array(split.ids, pa.large_string()),
            "text": pa.array(split.texts, pa.large_string()),
            "label": pa.array(split.labels.tolist(), pa.list_(pa.int8()))
            if split.labels.ndim == 2
            else pa.array(split.labels, pa.int64()),
        }
    )
    pq.write_table(table, path, compression="zstd")


def read_split(path: Path, name: str) -> Split:
    """Read what `write_split` wrote."""
    ids: list[str] = []
    texts: list[str] = []
    labels: list[Any] = []
    for chunk in iter_rows(path, _COLUMNS):
        for index, row in enumerate(chunk.rows):
            identifier, text, label = (row[column] for column in _COLUMNS)
            if not (isinstance(identifier, str) and isinstance(text, str) and isinstance(label, int | list)):
                raise DataError(f"{path}: {chunk.place(index)}: not a row of a stored split (id, text, integer label)")
            ids.append(identifier)
            texts.append(text)
            labels.append(label)
    return Split(name, ids, texts, np.array(labels, dtype=np.int64))


def read_unlabeled(data: Path) -> Split | None:
    """The texts without labels of prepared data, if there are any."""
    path = data / "unlabeled.parquet"
    return read_split(path, "unlabeled") if path.exists() else None


def digest(split: Split) -> str:
    """SHA-256 over ids, texts and labels in their order; the split's name does not count."""
    result = hashlib.sha256()
    for identifier, text, label in zip(split.ids, split.texts, split.labels.tolist(), strict=True):
        for part in (identifier.encode(), text.encode()):
            result.update(len(part).to_bytes(8, "little"))  # else ("ab", "c") would equal ("a", "bc")
            result.update(part)
        for number in label if isinstance(label, list) else [label]:
            result.update(number.to_bytes(8, "little", signed=True))
    return result.hexdigest()
