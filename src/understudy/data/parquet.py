"""Columns of any values as pyarrow arrays, for tables that become Parquet."""

from __future__ import annotations

from typing import Any

from ..errors import DataError, MissingExtraError, first_line
from .formats import Chunk


def column_type(source: str, chunk: Chunk, name: str, before: Any) -> Any:
    """The pyarrow type that holds a column's values in this chunk and in those before it."""
    try:
        import pyarrow as pa
    except ImportError:
        raise MissingExtraError("writing Parquet", "parquet") from None
    found = column_array(source, chunk, name, None).type
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


def column_array(source: str, chunk: Chunk, name: str, type: Any) -> Any:
    import pyarrow as pa

    values = [row.get(name) for row in chunk.rows]
    try:
        return pa.array([whole(value) if isinstance(value, str) else value for value in values], type)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        reason = first_line(error)
        raise DataError(
            f"{source}: {chunk.place(0)} and after: column '{name}' does not fit one Parquet type ({reason}); "
            "choose a .jsonl output"
        ) from None


def whole(text: str) -> str:
    """Lone surrogates, which UTF-8 cannot hold, become U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
