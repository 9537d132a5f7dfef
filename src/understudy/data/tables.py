"""The table that predictions are added to: opened once, read in chunks, its columns known beforehand."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

from ..errors import DataError, first_line
from .formats import CHUNK, READERS, Chunk, check_columns, iter_rows
from .labels import is_missing
from .parquet import column_type

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class Table:
    """The input: its columns (with pyarrow types for a Parquet output), number of rows (0: unknown), and chunks."""

    name: str
    columns: dict[str, Any]
    total: int
    chunks: Iterable[tuple[Chunk, Any]]
    schema: Any = None  # of a Parquet input


def open_table(source: Path | None, kind: str, column: str, new: Sequence[str], out: str) -> Table:
    if source is None:
        table = _open_stream(kind, column, new, out)
    elif kind == ".parquet":
        table = _open_parquet(source, column, out)
    else:
        columns, total = _survey(str(source), iter_rows(source), column, out)
        columns = columns or _header(io.BytesIO(source.read_bytes()), kind)
        table = Table(str(source), columns, total, ((chunk, None) for chunk in iter_rows(source)))
    if table.columns:  # JSONL without a row has none
        check_columns(table.name, [column], list(table.columns))
    for name in new:
        if name in table.columns:
            raise DataError(f"{table.name}: has a column '{name}'; name the new ones otherwise, as in --prefix new_")
    return table


def _open_stream(kind: str, column: str, new: Sequence[str], out: str) -> Table:
    """Standard input is read once: its first chunk tells the columns."""
    stream = _StandardInput(kind)
    chunks = READERS[kind](cast("Path", stream), None, CHUNK)
    first = list(islice(chunks, 1))
    columns, _ = _survey(str(stream), first, column, out)
    columns = columns or _header(stream.head, kind)

    def checked() -> Iterator[tuple[Chunk, Any]]:
        for chunk in chain(first, chunks):
            for index, row in enumerate(chunk.rows):
                late = row.keys() - columns.keys()
                for name in late & set(new) if out in JSON_LINES else late:
                    reason = f"column '{name}' is not in the first {CHUNK} rows; give the input as a file"
                    raise DataError(f"{stream}: {chunk.place(index)}: {reason}")
            yield chunk, None

    return Table(str(stream), columns, 0, checked())


class _StandardInput:
    """Standard input in the place of a path, as far as the readers of text files use one."""

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix
        self.head: list[bytes] = []

    def __str__(self) -> str:
        return "standard input"

    def open(self, mode: str) -> AbstractContextManager[Iterator[bytes]]:
        return nullcontext(self._lines())

    def _lines(self) -> Iterator[bytes]:
        for line in sys.stdin.buffer:
            if len(self.head) < 100:
                self.head.append(line)
            yield line


def texts_of(source: str, chunk: Chunk, column: str) -> list[str | None]:
    values = [row.get(column) for row in chunk.rows]
    for index, value in enumerate(values):
        if not isinstance(value, str) and not is_missing(value):
            found = f"{type(value).__name__} {value!r:.40}"
            raise DataError(f"{source}: {chunk.place(index)}: column '{column}' holds {found}, not a text")
    return [value if isinstance(value, str) else None for value in values]


def _survey(source: str, chunks: Iterable[Chunk], column: str, out: str) -> tuple[dict[str, Any], int]:
    """The columns of all rows, in the order of their appearance, and the number of rows; raises DataError."""
    columns: dict[str, Any] = {}
    total = 0
    for chunk in chunks:
        texts_of(source, chunk, column)
        total += len(chunk.rows)
        for name in dict.fromkeys(chain.from_iterable(chunk.rows)):
            columns[name] = column_type(source, chunk, name, columns.get(name)) if out == ".parquet" else None
    return columns, total


def _header(lines: Iterable[bytes], kind: str) -> dict[str, Any]:
    """The columns of a table without rows; the readers have found its header to be good."""
    if kind not in DELIMITERS:
        return {}
    decoded = (line.decode("utf-8-sig") for line in lines)
    return dict.fromkeys(next(csv.reader(decoded, delimiter=DELIMITERS[kind])))


def _open_parquet(path: Path, column: str, out: str) -> Table:
    next(iter_rows(path, [column]), None)  # finds what is wrong with the file, pyarrow missing included
    import pyarrow as pa
    import pyarrow.parquet as pq

    def chunks() -> Iterator[tuple[Chunk, Any]]:
        start = 0
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(CHUNK):
                    rows = (batch.select([column]) if out == ".parquet" else batch).to_pylist()
                    yield Chunk(start, rows), batch
                    start += len(rows)
        except (pa.ArrowException, ValueError, OSError) as error:  # ValueError: text that is not UTF-8, nanoseconds
            reason = first_line(error)
            raise DataError(f"{path}: rows {start} to {start + CHUNK}: cannot be read: {reason}") from None

    with pq.ParquetFile(path) as file:
        schema, total = file.schema_arrow, file.metadata.num_rows
    return Table(str(path), dict.fromkeys(schema.names), total, chunks(), schema)
