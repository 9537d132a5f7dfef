"""Shards of soft labels: Parquet with the id and logits of each text and, where it was asked for, the teacher's layers.

The logits are read by `soft_labels`, without torch; here are the rest, and the writing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..label_mapping import LabelMapping
from ..soft_labels import OWN
from .batches import Half
from .layers import Observed


def read_hidden(labels: Path, split: str, ids: Sequence[str], layers: Sequence[int], width: int) -> Half:
    """The states (n, chosen layers, width) of a split's examples in the order of `ids`."""
    rows = _rows(
        labels, split, "hidden",
        lambda values, count: list(values.flatten().to_numpy().reshape(count, -1, width)[:, list(layers)]),
    )  # fmt: skip
    return np.stack([rows[example] for example in ids])


def read_attention(labels: Path, split: str, ids: Sequence[str], layers: Sequence[int], total: int) -> list[Half]:
    """The attention (chosen layers, tokens) of each of a split's examples in the order of `ids`."""

    def cut(values: Any, count: int) -> list[Half]:
        flat, ends = values.values.to_numpy(), values.offsets.to_numpy()
        return [flat[start:end].reshape(total, -1)[list(layers)] for start, end in pairwise(ends)]

    rows = _rows(labels, split, "attention", cut)
    return [rows[example] for example in ids]


def _rows(labels: Path, split: str, column: str, cut: Callable[[Any, int], list[Any]]) -> dict[str, Any]:
    """What a column of a split's shards holds, by example id; `cut` parts the values of one shard into its rows."""
    rows: dict[str, Any] = {}
    for shard in sorted(labels.glob(f"{split}-*.parquet")):
        table = pq.read_table(shard, columns=["id", column])
        rows |= zip(table["id"].to_pylist(), cut(table[column].combine_chunks(), len(table)), strict=True)
    return rows


def write_shard(path: Path, aside: Path, ids: object, seen: Observed, mapping: LabelMapping | None) -> None:
    """Write a shard aside, in the directory that keeps an interrupted run's work, and move it to its place."""
    columns = {"id": pa.array(ids, pa.string()), "logits": _fixed(seen.logits, pa.float32())}
    if mapping is not None:
        columns |= {"logits": _fixed(mapping.apply(seen.logits), pa.float32()), OWN: columns["logits"]}
    if seen.layers.hidden is not None:
        columns["hidden"] = _fixed(seen.layers.hidden, pa.float16())
    if seen.layers.attention is not None:
        flat = [weights.ravel() for weights in seen.layers.attention]
        ends = pa.array(np.cumsum([0, *map(len, flat)]), pa.int32())
        columns["attention"] = pa.ListArray.from_arrays(ends, pa.array(np.concatenate(flat), pa.float16()))
    pq.write_table(pa.table(columns), aside, compression="zstd")
    aside.replace(path)


def _fixed(rows: NDArray[Any], kind: Any) -> Any:
    """Rows of as many numbers each as a column."""
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel(), kind), rows[0].size)


def layer_sizes(directory: Path) -> dict[str, int]:
    """The bytes on disk of the columns that hold layers."""
    sizes = {"hidden": 0, "attention": 0}
    for shard in directory.glob("*.parquet"):
        groups = pq.read_metadata(shard)
        for group in map(groups.row_group, range(groups.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                name = column.path_in_schema.split(".")[0]
                if name in sizes:
                    sizes[name] += column.total_compressed_size
    return sizes
