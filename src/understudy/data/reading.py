"""Splits from files and hub data sets: checked, normalised, with ids that say where a text came from."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError
from .formats import Row, iter_rows
from .hub import HubSplit
from .label_sets import label_flags, label_sets
from .labels import is_missing, label_indices
from .normalization import normalize
from .sentences import split_sentences
from .task import UNLABELED, Split, Task

Source = Path | HubSplit


@dataclass(frozen=True)
class Reading:
    """A split as it was read, and the group of each row if asked for.

    `empty` rows of the source have no text and are left out, `read` have one.
    """

    split: Split
    empty: int
    read: int
    groups: list[Hashable] | None = None


def read_labeled(
    source: Source,
    task: Task,
    text: str,
    label: str | None,
    name: str,
    normalization: Sequence[str] = (),
    group: str = "",
    separator: str = "|",
) -> Reading:
    """Read a split whose every text has a label; ids are `name:row`, rows counted from 0 in the source.

    Rows with the same value in the column `group` belong together; a row without one is a group of its own.
    Where `label` is None no label is read, whatever the source has; an empty one stands for a column of each label.
    `separator` parts the labels of a multi-label task in a cell.
    """
    columns = [] if label is None else [label] if label else list(task.labels)
    if text in columns:
        raise DataError(f"column '{text}' is both the text and a label; name another")
    table = _Table(source, [text, *columns, *([group] if group else [])], text, normalization)
    ids, texts, values, places, groups = [], [], [], [], list[Hashable]()
    for number, place, content, row in table.rows():
        cells = [row[column] for column in columns]
        for cell in cells:
            if is_missing(cell) and not (task.multi and label and isinstance(cell, str)):  # there: no label applies
                none = "an empty list says that no label applies; " if task.multi and label else ""
                raise DataError(
                    f"{source}: {place}: the label is empty; {none}texts without labels go into 'unlabeled'"
                )
        ids.append(f"{name}:{number}")
        texts.append(content)
        values.append(cells)
        places.append(place)
        if group:
            groups.append((name, number) if is_missing(row[group]) else str(row[group]))
    if not texts:
        raise DataError(f"{source}: no row has a text in column '{text}'")
    names = source.class_names(label) if label and isinstance(source, HubSplit) else []
    if label is None:
        labels = task.unlabeled(len(texts))
    elif task.multi and label:
        labels = label_sets([cell for (cell,) in values], task, str(source), places, names, separator)
    elif task.multi:
        labels = label_flags(values, task, str(source), places)
    else:
        labels = label_indices([cell for (cell,) in values], task, str(source), places, names)
    return Reading(Split(name, ids, texts, labels), table.empty, len(texts), groups if group else None)


def read_unlabeled(
    source: Source, text: str, name: str, normalization: Sequence[str] = (), sentences: bool = False
) -> Reading:
    """Read texts and ignore labels; ids are `name:row`, rows counted from 0 in the source.

    With `sentences`, those of each text stand in its place; ids are `name:row.sentence`.
    """
    # A text is cut as it was written: normalisation takes away the line breaks.
    table = _Table(source, [text], text, () if sentences else normalization)
    ids, texts, read = [], [], 0
    for number, _, content, _ in table.rows():
        read += 1
        if not sentences:
            ids.append(f"{name}:{number}")
            texts.append(content)
            continue
        for place, sentence in enumerate(split_sentences(content)):
            if (cleaned := normalize(sentence, normalization)).strip():
                ids.append(f"{name}:{number}.{place}")
                texts.append(cleaned)
    return Reading(Split(name, ids, texts, np.full(len(texts), UNLABELED, dtype=np.int64)), table.empty, read)


class _Table:
    """The rows of a source that have a text, normalised; counts those that have none."""

    def __init__(self, source: Source, columns: list[str], text: str, normalization: Sequence[str]) -> None:
        self._source = source
        self._columns = columns
        self._text = text
        self._normalization = normalization
        self.empty = 0

    def rows(self) -> Iterator[tuple[int, str, str, Row]]:
        """The row's number, where it is, its text and all its columns."""
        source, columns = self._source, list(dict.fromkeys(self._columns))
        chunks = source.chunks(columns) if isinstance(source, HubSplit) else iter_rows(source, columns)
        for chunk in chunks:
            for index, row in enumerate(chunk.rows):
                value = row[self._text]
                if not isinstance(value, str) and not is_missing(value):
                    found = f"{type(value).__name__} {value!r:.40}"
                    raise DataError(f"{source}: {chunk.place(index)}: column '{self._text}' holds {found}, not a text")
                content = normalize(value, self._normalization) if isinstance(value, str) else ""
                if content.strip():
                    yield chunk.start + index, chunk.place(index), content, row
                else:
                    self.empty += 1
