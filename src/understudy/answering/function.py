"""A Python function as a teacher: a list of texts → their probabilities."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.task import Split, Task
from ..errors import DataError, RecipeError, WorkError, first_line
from ..files import sha256_of_file
from .rows import logits_of


@dataclass(frozen=True)
class Function:
    """A function that was found; `source` is the file that defines its module."""

    name: str
    call: Callable[[list[str]], Any]
    source: Path | None
    task: Task

    @property
    def digest(self) -> str:
        """SHA-256 of the source file; what it imports does not count."""
        return sha256_of_file(self.source) if self.source else "no source file"

    def answer(self, split: Split, batch: int, advance: Callable[[int], None]) -> NDArray[np.float32]:
        """Logits (n, labels) of a split's texts, asked `batch` at a time."""
        labels = self.task.labels
        parts = [np.empty((0, len(labels)), dtype=np.float32)]
        for start in range(0, len(split), batch):
            texts = list(split.texts[start : start + batch])
            try:
                answer = self.call(texts)
            except (Exception, SystemExit) as error:
                raise WorkError(f"{self.name} raised {type(error).__name__}: {first_line(error)}") from None
            values = self._values(answer, len(texts))
            places = [f"{self.name}: its answer to {text!r:.60}" for text in texts]
            parts.append(logits_of(values, labels, self.task.kind, places.__getitem__)[0])
            advance(len(texts))
        return np.concatenate(parts)

    def _values(self, answer: Any, count: int) -> NDArray[np.float64]:
        """(count, labels) of an array, or of a dict per text in which NaN stands for a label that it leaves out."""
        labels = self.task.labels
        if isinstance(answer, Sequence) and answer and all(isinstance(row, Mapping) for row in answer):
            unknown = sorted({str(name) for row in answer for name in row} - set(labels))
            if unknown:
                raise DataError(f"{self.name} answers with {unknown[0]!r}; the labels are {', '.join(labels)}")
            answer = [[row.get(label, None) for label in labels] for row in answer]
            absent = np.array([[cell is None for cell in row] for row in answer])
        else:
            absent = None
        try:
            values = np.array(answer, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{self.name} answers with what is no array of numbers: {first_line(error)}") from None
        if values.shape != (count, len(labels)):
            raise DataError(
                f"{self.name} answers {count} texts with an array of shape {values.shape}, expected "
                f"({count}, {len(labels)}): a row per text, a column per label"
            )
        if (np.isnan(values) if absent is None else np.isnan(values) & ~absent).any():
            raise DataError(f"{self.name} answers with NaN")
        if np.isnan(values).all(axis=1).any():
            raise DataError(f"{self.name} answers a text with no label at all")
        return values


def find_function(name: str, base: Path | None, task: Task) -> Function:
    """Import `module:name` or `file.py:name`, the file as seen from `base`; raises RecipeError in one line."""
    where, _, attribute = name.rpartition(":")
    try:
        module = (
            _load_file(((base or Path()) / where).resolve())
            if where.endswith(".py")
            else importlib.import_module(where)
        )
    except (Exception, SystemExit) as error:
        raise RecipeError(f"teacher.function {name}: {type(error).__name__}: {first_line(error)}") from None
    call = getattr(module, attribute, None)
    if not callable(call):
        raise RecipeError(f"teacher.function {name}: {where} has no function '{attribute}'")
    source = inspect.getsourcefile(module)
    return Function(name, call, Path(source).resolve() if source else None, task)


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    return _run_file(path, sha256_of_file(path))


@cache
def _run_file(path: Path, digest: str) -> ModuleType:
    """The module of a file; run once, since it may load a model."""
    found = importlib.util.spec_from_file_location(f"understudy_teacher_{path.stem}", path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # it may import its neighbours
    found.loader.exec_module(module)
    return module
