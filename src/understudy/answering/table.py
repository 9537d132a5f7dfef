"""A file of probabilities as a teacher: a row per text, a column `p_<label>` or `<label>` per label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.formats import check_columns, iter_rows
from ..data.labels import is_missing
from ..data.normalization import normalize
from ..data.task import Split, Task
from ..errors import ArtifactError, DataError
from ..label_mapping import label_permutation
from ..teachers import TableTeacher
from .rows import logits_of

PREFIX = "p_"


@dataclass
class Table:
    """Logits (rows, labels) by text or id; `texts` holds the text of each row that is found by its id."""

    path: Path
    rows: Mapping[str, int]
    logits: NDArray[np.float32]
    spread: NDArray[np.float64]  # the mass of each row that was spread over its empty cells; NaN: none is empty
    texts: Sequence[str] | None
    by_id: bool
    incomplete: int = 0  # answers given so far whose row had empty cells, and the mass that was spread over these
    mass: float = 0.0

    def answer(self, split: Split) -> NDArray[np.float32]:
        """The rows of a split's texts, NaN where there is none; raises DataError if an id has another text."""
        answers = np.full((len(split), self.logits.shape[1]), np.nan, dtype=np.float32)
        for place, (name, text) in enumerate(zip(split.ids, split.texts, strict=True)):
            row = self.rows.get(name if self.by_id else text)
            if row is None:
                continue
            if self.texts is not None and self.texts[row] != text:
                raise DataError(
                    f"{self.path}: the row of id {name} has the text {self.texts[row]!r:.60}, in the data it is "
                    f"{text!r:.60}: the ids are those of other data"
                )
            answers[place] = self.logits[row]
            if not np.isnan(self.spread[row]):
                self.incomplete += 1
                self.mass += float(self.spread[row])
        return answers


def read_table(path: Path, config: TableTeacher, task: Task, normalization: Sequence[str]) -> Table:
    """Read and check every row. Raises DataError that names the row."""
    labels = task.labels
    names = list(dict.fromkeys(name for chunk in iter_rows(path) for row in chunk.rows for name in row))
    check_columns(str(path), [config.id or config.text], names)
    columns = _label_columns(path, names, config.label_map, labels)
    values: list[list[float]] = []
    keys, places, texts = list[str](), list[str](), list[str]()
    with_text = bool(config.id) and config.text in names
    for chunk in iter_rows(path):
        for index, row in enumerate(chunk.rows):
            place = f"{path}: {chunk.place(index)}"
            key = row.get(config.id or config.text)
            if is_missing(key):
                raise DataError(f"{place}: column '{config.id or config.text}' is empty")
            keys.append(str(key) if config.id else normalize(str(key), normalization))
            values.append([_number(row.get(column), place, column) for column in columns])
            places.append(place)
            if with_text:
                texts.append(normalize(str(row.get(config.text) or ""), normalization))
    if not values:
        raise DataError(f"{path}: has no row")
    logits, spread = logits_of(
        np.array(values), labels, task.kind, lambda row: places[row], config.scale, config.tolerance
    )
    silent = [name for name, cells in zip(labels, np.isnan(values).T, strict=True) if cells.all()]
    if silent:
        raise DataError(f"{path}: no row gives a value for the label '{silent[0]}'")
    return Table(path, _rows(keys, logits, places), logits, spread, texts if with_text else None, bool(config.id))


def _label_columns(path: Path, names: Sequence[str], label_map: Mapping[str, str], labels: Sequence[str]) -> list[str]:
    """The column of each label, in the task's order: those with the prefix if there are any, else those named alike."""
    known = {label.casefold() for label in (*labels, *label_map)}
    prefixed = [name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)]
    prefix = PREFIX if any(name.casefold() in known for name in prefixed) else ""
    theirs = prefixed if prefix else [name for name in names if name.casefold() in known]
    try:
        return [prefix + theirs[column] for column in label_permutation(theirs, labels, label_map)]
    except ArtifactError as error:
        reason = str(error).replace("the classifier's", "the table's")
        raise DataError(f"{path}: {reason}; a label's column is {PREFIX}<label> or <label>") from None


def _number(cell: object, place: str, column: str) -> float:
    """A cell as a number, NaN if it is empty."""
    if is_missing(cell):
        return float("nan")
    try:
        if isinstance(cell, bool):
            raise ValueError
        return float(cell)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError):
        raise DataError(f"{place}: column '{column}' holds {cell!r:.40}, not a number") from None


def _rows(keys: Sequence[str], logits: NDArray[np.float32], places: Sequence[str]) -> dict[str, int]:
    """The row of each key; a key may come twice with the same answer."""
    rows: dict[str, int] = {}
    for row, key in enumerate(keys):
        first = rows.setdefault(key, row)
        if not np.allclose(logits[first], logits[row], equal_nan=True):
            where = places[first].rpartition(": ")[2]
            raise DataError(f"{places[row]}: {key!r:.60} again, with another answer than in {where}; keep one")
    return rows
