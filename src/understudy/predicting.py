"""Predictions for every row of a file: any size in constant memory, input order, complete or absent."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from .data.formats import _READERS, CHUNK, SUFFIXES, Chunk, check_columns, iter_rows
from .data.labels import is_missing
from .data.normalization import normalize
from .errors import DataError, MissingExtraError, RecipeError, WorkError
from .progress import Progress, Silent

if TYPE_CHECKING:
    from .classifier import Classifier

Write = Callable[[Chunk, Any, dict[str, list[Any]]], None]  # rows, their pyarrow batch if they have one, new columns

_UNSEEN = {"Cc", "Cf", "Zs", "Zl", "Zp"}  # Unicode categories: controls, invisible marks, white space
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?")
_GROUP_ROWS, _GROUP_BYTES = 65_536, 32 << 20  # a Parquet row group is written when it has one of these


@dataclass(frozen=True)
class Summary:
    """How many rows were written, and how many of them had no text and so got no label."""

    rows: int
    empty: int


@dataclass(frozen=True)
class _Table:
    """The input: its columns (with pyarrow types for a Parquet output), number of rows (0: unknown), and chunks."""

    name: str
    columns: dict[str, Any]
    total: int
    chunks: Iterable[tuple[Chunk, Any]]
    metadata: Any = None


def predict_file(
    classifier: Classifier,
    source: Path | None,
    target: Path | None,
    *,
    column: str = "text",
    format: str | None = None,
    probabilities: bool = False,
    prefix: str = "",
    overwrite: bool = False,
    excel_safe: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Copy a table and add the columns `label`, `confidence` and, on request, `p_<label>` for each label.

    None is standard input or output, in `format` (csv by default); the suffix of a file says what it is. A file is
    read twice, so that a bad row is found before the work. A row without text keeps its place and gets no prediction.
    `prefix` goes before the names of the new columns; `excel_safe` puts ' before cells that a spreadsheet would run.
    Raises DataError, RecipeError for flags that contradict each other, WorkError when the output cannot be written,
    and BrokenPipeError when nobody reads standard output any more.
    """
    kind, out = _kinds(source, target, format, excel_safe)
    target = target and Path(os.path.realpath(target))
    _check_target(source, target, overwrite)
    names = [f"{prefix}label", f"{prefix}confidence"]
    names += [f"{prefix}p_{label}" for label in classifier.labels] if probabilities else []
    table = _open(source, kind, column, names, out)
    rows = empty = 0
    try:
        with (
            (progress or Silent()).track("predict", table.total) as advance,
            _output(target, overwrite) as file,
            _WRITERS[out](file, table, names, excel_safe) as write,
        ):
            for chunk, batch in table.chunks:
                scores = score(classifier, _texts(table.name, chunk, column))
                write(chunk, batch, dict(zip(names, _columns(scores, classifier.labels), strict=False)))
                rows += len(scores)
                empty += int(np.isnan(scores[:, 0]).sum())
                file.flush()
                advance(len(scores))
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise WorkError(f"{target or 'standard output'}: cannot be written: {reason}") from None
    return Summary(rows, empty)


def score(classifier: Classifier, texts: Sequence[str | None]) -> NDArray[np.float64]:
    """Probabilities (n, labels), in order; a row of NaN for None and for a text in which nothing can be seen."""
    scores = np.full((len(texts), len(classifier.labels)), np.nan)
    config = classifier.artifact.text
    steps = cast("Any", config.normalize if config else ())
    filled = {row: text for row, text in enumerate(texts) if text and _visible(normalize(text, steps))}
    if filled:
        scores[list(filled)] = classifier.predict_proba(list(filled.values()))
    return scores


def _visible(text: str) -> bool:
    return any(unicodedata.category(character) not in _UNSEEN for character in text)


def _columns(scores: NDArray[np.float64], labels: Sequence[str]) -> Iterator[list[Any]]:
    """The values of label, confidence, and each label's probability; None in rows without text."""
    filled = ~np.isnan(scores[:, 0])
    yield [labels[best] if there else None for best, there in zip(scores.argmax(axis=1), filled, strict=True)]
    for values in (scores.max(axis=1), *scores.T):
        yield [value if there else None for value, there in zip(values.tolist(), filled, strict=True)]


def _texts(source: str, chunk: Chunk, column: str) -> list[str | None]:
    values = [row.get(column) for row in chunk.rows]
    for index, value in enumerate(values):
        if not isinstance(value, str) and not is_missing(value):
            found = f"{type(value).__name__} {value!r:.40}"
            raise DataError(f"{source}: {chunk.place(index)}: column '{column}' holds {found}, not a text")
    return [value if isinstance(value, str) else None for value in values]


def _kinds(source: Path | None, target: Path | None, format: str | None, excel_safe: bool) -> tuple[str, str]:
    """What the input and the output are, as suffixes."""
    if format is not None and source is not None and target is not None:
        raise RecipeError("--format is for standard input and output; the suffix of a file says what it is")
    kinds = [f".{format or 'csv'}" if path is None else path.suffix.lower() for path in (source, target)]
    for path, kind in zip((source, target), kinds, strict=True):
        if kind not in SUFFIXES or (path is None and kind == ".parquet"):
            raise DataError(f"{path or '-'}: unknown kind of file '{kind}'; expected {', '.join(SUFFIXES)}")
    if excel_safe and kinds[1] not in _DELIMITERS:
        raise RecipeError("--excel-safe is for CSV and TSV; spreadsheets run no cell of other files as a formula")
    return kinds[0], kinds[1]


def _check_target(source: Path | None, target: Path | None, overwrite: bool) -> None:
    if target is None:
        return
    if not target.parent.is_dir():
        raise DataError(f"{target}: there is no directory {target.parent}; make it first")
    if target.exists():
        if not target.is_file():
            raise DataError(f"{target}: is not a file; choose another output")
        if source is not None and source.exists() and target.samefile(source):
            raise DataError(f"{target}: is the input itself; choose another output")
        if not overwrite:
            raise DataError(f"{target}: exists; choose another output or add --overwrite")


def _open(source: Path | None, kind: str, column: str, new: Sequence[str], out: str) -> _Table:
    if source is None:
        table = _open_stream(_StandardInput(kind), column, new, out)
    elif kind == ".parquet":
        table = _open_parquet(source, column, out)
    else:
        columns, total = _survey(str(source), iter_rows(source), column, out)
        if not columns and kind in _DELIMITERS:
            columns = _header(source.read_bytes(), kind, out)
        table = _Table(str(source), columns, total, ((chunk, None) for chunk in iter_rows(source)))
    if table.columns:  # JSONL without a row has none
        check_columns(table.name, [column], list(table.columns))
    for name in new:
        if name in table.columns:
            raise DataError(f"{table.name}: has a column '{name}'; name the new ones otherwise, as in --prefix new_")
    return table


def _survey(source: str, chunks: Iterable[Chunk], column: str, out: str) -> tuple[dict[str, Any], int]:
    """The columns of all rows, in order of appearance, and the number of rows; raises DataError for a bad one."""
    columns: dict[str, Any] = {}
    total = 0
    for chunk in chunks:
        _texts(source, chunk, column)
        total += len(chunk.rows)
        names = list(dict.fromkeys(name for row in chunk.rows for name in row))
        types = _types(source, chunk, names) if out == ".parquet" else dict.fromkeys(names)
        ...
    return columns, total
