"""Predictions for every row of a file: any size in constant memory, input order, complete or absent."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import SimpleNamespace
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

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_FORMULA = frozenset("=+-@\t\r")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?")
_UNSEEN = {"Cc", "Cf", "Zs", "Zl", "Zp"}  # Unicode categories: controls, invisible marks, white space
_GROUP_ROWS, _GROUP_BYTES = 65_536, 32 << 20  # a Parquet row group is written when it has one of these


@dataclass(frozen=True)
class Summary:
    """How many rows were written, and how many of them had no text and so got no label."""

    rows: int
    empty: int


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
                file.flush()
                rows += len(scores)
                empty += int(np.isnan(scores[:, 0]).sum())
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


@dataclass(frozen=True)
class _Table:
    """The input: its columns (with pyarrow types for a Parquet output), number of rows (0: unknown), and chunks."""

    name: str
    columns: dict[str, Any]
    total: int
    chunks: Iterable[tuple[Chunk, Any]]
    schema: Any = None  # of a Parquet input


def _open(source: Path | None, kind: str, column: str, new: Sequence[str], out: str) -> _Table:
    if source is None:
        table = _open_stream(kind, column, new, out)
    elif kind == ".parquet":
        table = _open_parquet(source, column, out)
    else:
        columns, total = _survey(str(source), iter_rows(source), column, out)
        columns = columns or _header(io.BytesIO(source.read_bytes()), kind)
        table = _Table(str(source), columns, total, ((chunk, None) for chunk in iter_rows(source)))
    if table.columns:  # JSONL without a row has none
        check_columns(table.name, [column], list(table.columns))
    for name in new:
        if name in table.columns:
            raise DataError(f"{table.name}: has a column '{name}'; name the new ones otherwise, as in --prefix new_")
    return table


def _open_stream(kind: str, column: str, new: Sequence[str], out: str) -> _Table:
    """Standard input is read once: its first chunk tells the columns."""
    stream = _StandardInput(kind)
    chunks = _READERS[kind](cast("Path", stream), None, CHUNK)
    first = list(islice(chunks, 1))
    columns, _ = _survey(str(stream), first, column, out)
    columns = columns or _header(stream.head, kind)

    def checked() -> Iterator[tuple[Chunk, Any]]:
        for chunk in chain(first, chunks):
            for index, row in enumerate(chunk.rows):
                late = row.keys() - columns.keys()
                for name in late & set(new) if _WRITERS[out] is _write_jsonl else late:
                    reason = f"column '{name}' is not in the first {CHUNK} rows; give the input as a file"
                    raise DataError(f"{stream}: {chunk.place(index)}: {reason}")
            yield chunk, None

    return _Table(str(stream), columns, 0, checked())


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


def _texts(source: str, chunk: Chunk, column: str) -> list[str | None]:
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
        _texts(source, chunk, column)
        total += len(chunk.rows)
        for name in dict.fromkeys(chain.from_iterable(chunk.rows)):
            columns[name] = _type(source, chunk, name, columns.get(name)) if out == ".parquet" else None
    return columns, total


def _header(lines: Iterable[bytes], kind: str) -> dict[str, Any]:
    """The columns of a table without rows; the readers have found its header to be good."""
    if kind not in _DELIMITERS:
        return {}
    decoded = (line.decode("utf-8-sig") for line in lines)
    return dict.fromkeys(next(csv.reader(decoded, delimiter=_DELIMITERS[kind])))


def _open_parquet(path: Path, column: str, out: str) -> _Table:
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
            reason = str(error).splitlines()[0]
            raise DataError(f"{path}: rows {start} to {start + CHUNK}: cannot be read: {reason}") from None

    with pq.ParquetFile(path) as file:
        schema, total = file.schema_arrow, file.metadata.num_rows
    return _Table(str(path), dict.fromkeys(schema.names), total, chunks(), schema)


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


@contextmanager
def _output(target: Path | None, overwrite: bool) -> Iterator[BinaryIO]:
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
        _check_target(None, target, overwrite)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _write_delimited(
    delimiter: str, file: BinaryIO, table: _Table, names: Sequence[str], excel_safe: bool
) -> Iterator[Write]:
    def put(line: str) -> None:
        file.write(_whole(line.removesuffix("\r\n") + "\n").encode())

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
def _write_jsonl(file: BinaryIO, table: _Table, names: Sequence[str], excel_safe: bool) -> Iterator[Write]:
    def write(chunk: Chunk, batch: Any, new: dict[str, list[Any]]) -> None:
        for row, *values in zip(chunk.rows, *new.values(), strict=True):
            record = {name: None if _infinite(value) else value for name, value in row.items()}
            numbers = (round(value, 6) if isinstance(value, float) else value for value in values)
            file.write(_json(record | dict(zip(names, numbers, strict=True))).encode() + b"\n")

    yield write


@contextmanager
def _write_parquet(file: BinaryIO, table: _Table, names: Sequence[str], excel_safe: bool) -> Iterator[Write]:
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
        schema = schema.append(pa.field(name, pa.string() if name == names[0] else pa.float64()))
    group: list[Any] = []

    def write(chunk: Chunk, batch: Any, new: dict[str, list[Any]]) -> None:
        built = (_array(table.name, chunk, field.name, field.type) for field in kept)
        old = built if batch is None else batch.columns
        added = [pa.array(new[name], schema.field(name).type) for name in names]
        group.append(pa.RecordBatch.from_arrays([*old, *added], schema=schema))
        if sum(part.num_rows for part in group) >= _GROUP_ROWS or sum(part.nbytes for part in group) >= _GROUP_BYTES:
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
        raise DataError(f"{table.name}: cannot become Parquet: {str(error).splitlines()[0]}") from None


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


def _infinite(value: object) -> bool:
    """Whether a value is a NaN or an infinity, for which JSON has no word."""
    return isinstance(value, float) and not math.isfinite(value)


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=_readable)
    return text if text == _whole(text) else json.dumps(value, default=_readable)


def _readable(value: object) -> str:
    if isinstance(value, bytes):
        raise DataError("a column holds bytes, which only Parquet can keep; choose a .parquet output")
    return str(value)


def _whole(text: str) -> str:
    """Lone surrogates, which UTF-8 cannot hold, become U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _type(source: str, chunk: Chunk, name: str, before: Any) -> Any:
    """The pyarrow type that holds a column's values in this chunk and in those before it."""
    try:
        import pyarrow as pa
    except ImportError:
        raise MissingExtraError("writing Parquet", "parquet") from None
    found = _array(source, chunk, name, None).type
    if before in (None, found):
        return found
    try:
        both = [pa.schema([(name, kind)]) for kind in (before, found)]
        return pa.unify_schemas(both, promote_options="permissive").field(name).type
    except pa.ArrowException:
        raise DataError(
            f"{source}: {chunk.place(0)} and after: column '{name}' holds {found}, before it {before}; "
            "Parquet needs one type, choose a .jsonl output"
        ) from None


def _array(source: str, chunk: Chunk, name: str, type: Any) -> Any:
    import pyarrow as pa

    values = [row.get(name) for row in chunk.rows]
    try:
        return pa.array([_whole(value) if isinstance(value, str) else value for value in values], type)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{source}: {chunk.place(0)} and after: column '{name}' does not fit one Parquet type ({reason}); "
            "choose a .jsonl output"
        ) from None


_WRITERS: dict[str, Callable[[BinaryIO, _Table, Sequence[str], bool], AbstractContextManager[Write]]] = {
    ".csv": partial(_write_delimited, ","),
    ".tsv": partial(_write_delimited, "\t"),
    ".jsonl": _write_jsonl,
    ".ndjson": _write_jsonl,
    ".parquet": _write_parquet,
}
