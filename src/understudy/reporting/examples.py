"""The test texts that a report may name: their ids, their texts where predictions were written, and their traits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.formats import iter_rows
from ..data.writing import fused
from ..errors import ArtifactError
from ..recording import PREDICTIONS
from ..traits import TRAITS, UNKNOWN
from .formats import Cell

MOST = 10  # rows of a list

_HEAD, _TAIL = 84, 34  # characters shown of a long text: what an author concludes stands at the end
_UNSEEN = dict.fromkeys([*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")


@dataclass(frozen=True)
class Examples:
    """Rows in the order of the test split; `texts` and `words` are empty where the benchmark stored none."""

    ids: Sequence[str]
    texts: Sequence[str] = ()
    words: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    unknown: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)  # by name-variant of a model

    @property
    def columns(self) -> list[Cell]:
        """What begins the head of a table of texts."""
        return [Cell("Id"), *([Cell("Text")] if self.texts else [])]

    def cells(self, row: int) -> list[Cell]:
        """What begins a row of it."""
        return [Cell(self.ids[row]), *([Cell(shortened(self.texts[row]))] if self.texts else [])]


def read_examples(benchmark: Path) -> Examples:
    """What a benchmark's directory says of its test texts; one that is older or holds no texts says less."""
    with np.load(benchmark / "labels.npz") as file:
        ids = file["ids"].tolist()
    words, unknown = np.empty(0, dtype=np.int64), {}
    if (benchmark / TRAITS).exists():
        with np.load(benchmark / TRAITS) as file:
            if file["ids"].tolist() != ids:
                raise ArtifactError(f"{benchmark / TRAITS} and labels.npz hold other ids; rerun `understudy benchmark`")
            words = file["words"]
            unknown = {name.removeprefix(UNKNOWN): file[name] for name in file.files if name.startswith(UNKNOWN)}
    return Examples(ids, _texts(benchmark / PREDICTIONS, len(ids)), words, unknown)


def shortened(text: str) -> str:
    """On one line, without signs that steer a terminal or turn its direction; of a long one both ends."""
    line = " ".join(text.split()).translate(_UNSEEN)
    if len(line) <= _HEAD + _TAIL + 3:
        return line
    head, tail = line[:_HEAD], line[-_TAIL:]
    head = head.rpartition(" ")[0] or head  # whole words, where there are any
    return f"{head} … {tail.partition(' ')[2] or tail}"


def _texts(predictions: Path, rows: int) -> list[str]:
    """The texts of any table of predictions, all of which hold the same; none where there is none."""
    path = min(predictions.glob("*.csv"), default=None)
    if path is None:
        return []
    texts = [fused(str(row["text"])) for chunk in iter_rows(path, ["text"]) for row in chunk.rows]
    if len(texts) != rows:
        raise ArtifactError(f"{path} has {len(texts):,} texts, labels.npz {rows:,}; rerun `understudy benchmark`")
    return texts
