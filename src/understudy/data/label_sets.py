"""Labels of multi-label tasks as they are in files → 0 and 1 for each label of the task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import DataError
from .labels import is_missing, label_indices
from .task import Labels, Task

_FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


def label_sets(
    values: Sequence[object],
    task: Task,
    source: str,
    places: Sequence[str],
    names: Sequence[str],
    separator: str,
) -> Labels:
    """Read cells that hold several labels, (n, labels): a list, or text parted by the separator. DataError as for one.

    An empty list, and an empty cell of text, say that no label applies.
    """
    members = [_members(value, separator) for value in values]
    result = np.zeros((len(values), len(task.labels)), dtype=np.int64)
    rows = [row for row, inside in enumerate(members) for _ in inside]
    flat = [member for inside in members for member in inside]
    if flat:
        result[rows, label_indices(flat, task, source, [places[row] for row in rows], names)] = 1
    return result


def label_flags(cells: Sequence[Sequence[object]], task: Task, source: str, places: Sequence[str]) -> Labels:
    """Read a cell of 0 or 1 for each label, (n, labels)."""
    for place, row in zip(places, cells, strict=True):
        for label, cell in zip(task.labels, row, strict=True):
            if str(cell).strip().lower() not in _FLAGS:
                raise DataError(f"{source}: {place}: column '{label}' holds {cell!r:.40}, expected 0 or 1")
    flags = [[_FLAGS[str(cell).strip().lower()] for cell in row] for row in cells]
    return np.array(flags, dtype=np.int64).reshape(len(cells), len(task.labels))


def _members(value: object, separator: str) -> list[object]:
    if isinstance(value, str):
        return [] if is_missing(value) else list(value.split(separator))
    return list(value) if isinstance(value, list | tuple) else [value]
