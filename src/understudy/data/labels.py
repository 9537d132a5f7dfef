"""Label values as they are in files → indices into the task's labels."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ..errors import DataError
from .task import UNLABELED, Labels, Task

_INTEGER = re.compile(r"[+-]?\d{1,9}(\.0*)?")


def label_indices(
    values: Sequence[object], task: Task, source: str, places: Sequence[str], names: Sequence[str] = ()
) -> Labels:
    """Read all labels of a source as declared names or, failing that, all as indices; raises DataError.

    `places` says where each value is, `names` what the source itself calls its classes, in order. Declared names that
    look like numbers are only ever names: "1" must not be the label "1" in one file and the second label in the next.
    """
    values = _named(values, task, source, names)
    by_name = {name: index for index, name in enumerate(task.labels)}
    readings = [[by_name.get(_name(value), UNLABELED) for value in values]]
    expected = ", ".join(task.labels)
    if not any(_INTEGER.fullmatch(name) for name in task.labels):
        readings.append([_index(value, len(task.labels)) for value in values])
        expected += f", or 0 to {len(task.labels) - 1}"
    offences = []
    for labels in readings:
        if UNLABELED not in labels:
            return np.array(labels, dtype=np.int64)
        offences.append(labels.index(UNLABELED))
    worst = max(offences)  # the rows before it fit one of the readings
    raise DataError(f"{source}: {places[worst]}: label {values[worst]!r} is not declared; expected {expected}")


def is_missing(value: object) -> bool:
    """Whether a cell is null: None, NaN, or white space."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _named(values: Sequence[object], task: Task, source: str, names: Sequence[str]) -> Sequence[object]:
    """Class numbers replaced by the source's own names where these are the task's, so that order cannot matter."""
    if set(names) == set(task.labels):
        return [names[index] if (index := _index(value, len(names))) != UNLABELED else value for value in values]
    for index, name in enumerate(names):
        if name in task.labels and task.labels.index(name) != index:
            raise DataError(
                f"{source}: class {index} is '{name}' there, but label {task.labels.index(name)} of the task; "
                f"declare its labels: {', '.join(names)}"
            )
    return values


def _name(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _index(value: object, count: int) -> int:
    if not _INTEGER.fullmatch(_name(value)):
        return UNLABELED
    index = int(float(_name(value)))
    return index if 0 <= index < count else UNLABELED
