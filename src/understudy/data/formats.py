"""Rows of CSV, TSV, JSONL and Parquet files, a chunk at a time."""

from __future__ import annotations

import csv
import difflib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError, MissingExtraError, first_line

Row = dict[str, object]

CHUNK = 4096


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows; the first is row `start` of its source, counted from 0.

    `lines` says on which line of a text file, counted from 1, each row starts; a Parquet file has none.
    """

    start: int
    rows: list[Row]
    lines: list[int] | None = None

    def place(self, index: int) -> str:
        """Where the row of that index in the chunk is, as a person would look for it."""
        return f"line {self.lines[index]}" if self.lines else f"row {self.start + index}"


def iter_rows(path: str | Path, columns: Sequence[str] | None = None, chunk: int = CHUNK) -> Iterator[Chunk]:
    """Read a file in constant memory; with `columns`, rows have exactly those keys.

    Rows are dicts of strings from CSV and TSV, of JSON values from JSONL, of Python values from Parquet. Raises
    DataError, before the first row where that is possible, for a file or a row that cannot be read.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: unknown kind of file '{path.suffix}'; expected {', '.join(SUFFIXES)}")
    try:
        if path.is_dir():
            raise DataError(f"{path}: is a directory; expected a file ({', '.join(SUFFIXES)})")
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty")
        wanted = None if columns is None else list(dict.fromkeys(columns))
        yield from reader(path, wanted, chunk)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or first_line(error)}") from None


def check_columns(source: str, wanted: Sequence[str] | None, present: Sequence[str]) -> list[str]:
    """The columns to read; raises DataError for one that is not there."""
    for name in wanted or ():
        if name not in present:
            near = difflib.get_close_matches(name, present, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            if len(present) == 1 and (";" in present[0] or "\t" in present[0]):
                hint = "; separate the columns of a .csv file by commas, of a .tsv file by tabs"
            found = ", ".join(f"{column!r:.40}" for column in present[:20]) or "none"  # without a header, whole texts
            raise DataError(f"{source}: no column '{name}'; it has {found}{hint}")
    return list(present if wanted is None else wanted)


def _lines(path: Path) -> Iterator[str]:
    """Decoded lines with their ends; only a line feed ends a line, so that quoted carriage returns survive."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            try:
                yield raw.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"byte 0x{raw[error.start]:02x} at position {error.start + 1}"
                raise DataError(f"{path}: line {number}: not UTF-8 ({byte}); save the file as UTF-8") from None


class _Chunks:
    """Collects rows of a text file until a chunk is full."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._start = 0
        self._rows: list[Row] = []
        self._lines: list[int] = []

    def add(self, row: Row, line: int) -> Iterator[Chunk]:
        self._rows.append(row)
        self._lines.append(line)
        if len(self._rows) == self._size:
            yield from self.flush()

    def flush(self) -> Iterator[Chunk]:
        if self._rows:
            yield Chunk(self._start, self._rows, self._lines)
        self._start += len(self._rows)
        self._rows, self._lines = [], []


def _csv(delimiter: str) -> Callable[[Path, list[str] | None, int], Iterator[Chunk]]:
    def read(path: Path, wanted: list[str] | None, size: int) -> Iterator[Chunk]:
        csv.field_size_limit(sys.maxsize)
        reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
        chunks = _Chunks(size)
        line = 1
        header: list[str] | None = None
        columns: list[str] = []
        try:
            for cells in reader:
                if header is None:
                    header = cells
                    columns = _header(path, cells, wanted)
                elif cells and len(cells) != len(header):
                    raise DataError(f"{path}: line {line}: {len(cells)} cells, but the header has {len(header)}")
                elif cells:
                    values = dict(zip(header, cells, strict=True))
                    yield from chunks.add({name: values[name] for name in columns}, line)
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{path}: line {line}: not a {path.suffix[1:].upper()} row: {error}") from None
        if header is None:
            raise DataError(f"{path}: the file is empty")
        yield from chunks.flush()

    return read


def _header(path: Path, cells: list[str], wanted: list[str] | None) -> list[str]:
    if not any(cell.strip() for cell in cells):
        raise DataError(f"{path}: line 1: no header; expected the names of the columns")
    _distinct(path, cells)
    return check_columns(str(path), wanted, cells)


def _distinct(path: Path, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column '{twice[0]}' occurs more than once; give every column its own name")


def _jsonl(path: Path, wanted: list[str] | None, size: int) -> Iterator[Chunk]:
    chunks = _Chunks(size)
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise DataError(f"{path}: line {number}: not valid JSON; expected one object per line") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}: line {number}: {type(row).__name__} instead of an object of columns")
        columns = check_columns(f"{path}: line {number}", wanted, list(row))
        yield from chunks.add({name: row[name] for name in columns}, number)
    yield from chunks.flush()


def _parquet(path: Path, wanted: list[str] | None, size: int) -> Iterator[Chunk]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("reading Parquet", "parquet") from None
    start = 0
    try:
        with pq.ParquetFile(path) as file:
            names: list[str] = file.schema_arrow.names
            _distinct(path, names)
            columns = check_columns(str(path), wanted, names)
            for batch in file.iter_batches(batch_size=size, columns=columns):
                rows = _values(path, batch, start)
                yield Chunk(start, [{name: row[name] for name in columns} for row in rows])
                start += len(rows)
    except pa.ArrowException as error:
        reason = first_line(error)
        raise DataError(f"{path}: not a whole Parquet file: {reason}") from None


def _values(path: Path, batch: Any, start: int) -> list[Row]:
    try:
        rows: list[Row] = batch.to_pylist()
    except UnicodeDecodeError:
        if len(batch) == 1:
            raise DataError(f"{path}: row {start}: not UTF-8; write its texts as UTF-8") from None
        rows = []
        for index in range(len(batch)):
            rows += _values(path, batch.slice(index, 1), start + index)  # one of them says which row it is
    return rows


READERS: dict[str, Callable[[Path, list[str] | None, int], Iterator[Chunk]]] = {
    ".csv": _csv(","),
    ".tsv": _csv("\t"),
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
}
SUFFIXES = tuple(READERS)
