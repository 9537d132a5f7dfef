"""Splits of a data set on the Hugging Face hub, as Parquet files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError, InputError, MissingExtraError, first_line
from ..hub.repositories import data_split
from .formats import CHUNK, Chunk, check_columns, iter_rows


@dataclass(frozen=True)
class HubSplit:
    """A split on this machine."""

    name: str
    files: tuple[Path, ...]

    def __str__(self) -> str:
        return self.name

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """The rows, as `iter_rows` gives those of a file."""
        start = 0
        for file in self.files:
            check_columns(self.name, columns, self._schema(file).names)
            rows = 0
            for chunk in iter_rows(file, columns, CHUNK):
                yield Chunk(start + chunk.start, chunk.rows)
                rows = chunk.start + len(chunk.rows)
            start += rows

    def class_names(self, column: str) -> list[str]:
        """The names that the data set itself gives to its class numbers, in order."""
        metadata = self._schema(self.files[0]).metadata or {}
        try:
            features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
            return [str(name) for name in features[column]["names"]]
        except (ValueError, KeyError, TypeError):
            return []  # written by something else than `datasets`, or a column without class names

    def _schema(self, file: Path) -> Any:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise MissingExtraError("reading a hub data set", "parquet") from None
        try:
            return pq.read_schema(file)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.name}: {file.name} is not a whole Parquet file: {first_line(error)}") from None


def load_hub(name: str, config: str, split: str) -> HubSplit:
    """Take from the cache, or download, one split."""
    source = f"{name}{f' ({config})' if config else ''}, split {split}"
    try:
        return HubSplit(source, tuple(data_split(name, config, split)))
    except InputError as error:
        raise DataError(str(error)) from None
