"""The teacher's layers in the shards of soft labels, which `soft_labels` writes and reads the logits of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .batches import Half, LayerTargets


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


def layer_columns(layers: LayerTargets) -> dict[str, Any]:
    """The columns that hold the layers of all texts of a shard, as pyarrow arrays."""
    columns: dict[str, Any] = {}
    if layers.hidden is not None:
        values = pa.array(layers.hidden.ravel(), pa.float16())
        columns["hidden"] = pa.FixedSizeListArray.from_arrays(values, layers.hidden[0].size)
    if layers.attention is not None:
        flat = [weights.ravel() for weights in layers.attention]
        ends = pa.array(np.cumsum([0, *map(len, flat)]), pa.int32())
        columns["attention"] = pa.ListArray.from_arrays(ends, pa.array(np.concatenate(flat), pa.float16()))
    return columns


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
