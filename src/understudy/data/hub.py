"""Splits of a data set on the Hugging Face hub, through the `datasets` package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DataError, MissingExtraError
from .formats import CHUNK, Chunk, check_columns


@dataclass(frozen=True)
class HubSplit:
    """A loaded split of a hub data set."""

    name: str
    dataset: Any

    def __str__(self) -> str:
        return self.name

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """The rows, as `iter_rows` gives those of a file."""
        check_columns(self.name, columns, self.dataset.column_names)
        for start in range(0, len(self.dataset), CHUNK):
            batch = self.dataset[start : start + CHUNK]
            values = zip(*(batch[name] for name in columns), strict=True)
            yield Chunk(start, [dict(zip(columns, row, strict=True)) for row in values])

    def class_names(self, column: str) -> list[str]:
        """The names that the data set itself gives to its class numbers, in order."""
        feature = self.dataset.features.get(column)
        return list(getattr(getattr(feature, "feature", feature), "names", None) or [])  # of lists, their elements'


def load_hub(name: str, config: str, split: str) -> HubSplit:
    """Download, or take from the cache, one split."""
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("reading a hub data set", "hub") from None
    source = f"{name}{f' ({config})' if config else ''}, split {split}"
    try:
        return HubSplit(source, datasets.load_dataset(name, config or None, split=split))
    except Exception as error:  # the hub client raises what its many parts raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"hub data set {source}: cannot be loaded: {reason}") from None
