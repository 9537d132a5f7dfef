"""Writing a table with its new columns: all or nothing, in the format of its suffix."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

from ..errors import DataError, MissingExtraError, first_line
from .formats import Chunk
from .parquet import column_array, whole
from .tables import Table

Write = Callable[[Chunk, Any, dict[str, list[Any]]], None]  # rows, their pyarrow batch if they have one, new columns

GROUP_ROWS, GROUP_BYTES = 65_536, 32 << 20  # a Parquet row group is written when it has one of these
_FORMULA = frozenset("=+-@\t\r")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?")


def check_target(source: Path | None, target: Path | None, overwrite: bool) -> None:
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


@contextmanager
def output(target: Path | None, overwrite: bool) -> Iterator[BinaryIO]:
    """Standard output, or a hidden file beside the target that takes its name when all is written."""
    if target is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")  # two processes never write to one file
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        check_target(None, target, overwrite)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _write_delimited(
    delimiter: str, file: BinaryIO, table: Table, names: Sequence[str], excel_safe: bool, several: bool
) -> Iterator[Write]:
    def put(line: str) -> None:
        file.write(whole(line.removesuffix("\r\n") + "\n").encode())

    # csv quotes cells with a character of its line end, and a lone carriage return has to be quoted to be read again.
    lines = csv.writer(SimpleNamespace(write=put), delimiter=delimiter, lineterminator="\r\n")
    cell = (lambda value: _defused(_cell(value))) if excel_safe else _cell

    def write(chunk: Chunk, batch: Any, new: dict[str, list[Any]]) -> None:
        for row, *values in zip(chunk.rows, *new.values(), strict=True):
            numbers = (f"{value:.6f}" if isinstance(value, float) else cell(value) for value in values)
            lines.writerow([*(cell(row.get(name)) for name in table.columns), *numbers])

    lines.writerow([cell(name) for name in (*table.columns, *names)])
    yield write


@contextmanager
def _write_jsonl(
    file: BinaryIO, table: Table, names: Sequence[str], excel_safe: bool, several: bool
) -> Iterator[Write]:
    def write(chunk: Chunk, batch: Any, new: dict[str, list[Any]]) -> None:
        for row, *values in zip(chunk.rows, *new.values(), strict=True):
            record = {name: None if _infinite(value) else value for name, value in row.items()}
            numbers = (round(value, 6) if isinstance(value, float) else value for value in values)
            file.write(_json(record | dict(zip(names, numbers, strict=True))).encode() + b"\n")

    yield write


@contextmanager
def _write_parquet(
    file: BinaryIO, table: Table, names: Sequence[str], excel_safe: bool, several: bool
) -> Iterator[Write]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("writing Parquet", "parquet") from None
    kept = table.schema
    if kept is None:
        kept = pa.schema(
            [(name, pa.string() if type in (None, pa.null()) else type) for name, type in table.columns.items()]
        )
    schema = kept
    for name in names:
        label = pa.list_(pa.string()) if several else pa.string()
        schema = schema.append(pa.field(name, label if name == names[0] else pa.float64()))
    group: list[Any] = []

    def write(chunk: Chunk, batch: Any, new: dict[str, list[Any]]) -> None:
        built = (column_array(table.name, chunk, field.name, field.type) for field in kept)
        old = built if batch is None else batch.columns
        added = [pa.array(new[name], schema.field(name).type) for name in names]
        group.append(pa.RecordBatch.from_arrays([*old, *added], schema=schema))
        if sum(part.num_rows for part in group) >= GROUP_ROWS or sum(part.nbytes for part in group) >= GROUP_BYTES:
            flush()

    def flush() -> None:
        if group:
            writer.write_table(pa.Table.from_batches(group))
            group.clear()

    try:
        writer = pq.ParquetWriter(file, schema)
        try:
            yield write
            flush()
        finally:
            writer.close()
    except pa.ArrowException as error:
        raise DataError(f"{table.name}: cannot become Parquet: {first_line(error)}") from None


def _cell(value: object) -> str:
    """A value of any kind as the text of a CSV cell; lists and objects as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return _json(value) if isinstance(value, bool | dict | list) else _readable(value)


def _defused(cell: str) -> str:
    """A cell that a spreadsheet does not run; plain numbers, signed ones too, stay as they are."""
    return f"'{cell}" if cell[:1] in _FORMULA and not _NUMBER.fullmatch(cell) else cell


def fused(cell: str) -> str:
    """The text of a cell that may have been defused; of a text that itself begins so, without the first sign."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in _FORMULA else cell


def _infinite(value: object) -> bool:
    """Whether a value is a NaN or an infinity, for which JSON has no word."""
    return isinstance(value, float) and not math.isfinite(value)


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=_readable)
    return text if text == whole(text) else json.dumps(value, default=_readable)


def _readable(value: object) -> str:
    if isinstance(value, bytes):
        raise DataError("a column holds bytes, which only Parquet can keep; choose a .parquet output")
    return str(value)


# file, table, names of the new columns, whether spreadsheets must not run cells, whether the first column holds lists
WRITERS: dict[str, Callable[[BinaryIO, Table, Sequence[str], bool, bool], AbstractContextManager[Write]]] = {
    ".csv": partial(_write_delimited, ","),
    ".tsv": partial(_write_delimited, "\t"),
    ".jsonl": _write_jsonl,
    ".ndjson": _write_jsonl,
    ".parquet": _write_parquet,
}
