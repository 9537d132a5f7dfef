"""Predictions for every row of a file: any size in constant memory, input order, complete or absent."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from .data.formats import SUFFIXES
from .data.normalization import normalize
from .data.tables import DELIMITERS, open_table, texts_of
from .data.writing import WRITERS, check_target, output
from .errors import DataError, RecipeError, WorkError, first_line
from .kinds import SEPARATOR
from .progress import Progress, Silent

if TYPE_CHECKING:
    from .choice import Choice
    from .classifier import Classifier

_UNSEEN = {"Cc", "Cf", "Zs", "Zl", "Zp"}  # Unicode categories: controls, invisible marks, white space


@dataclass(frozen=True)
class Summary:
    """How many rows were written, how many of them had no text and so got no label, how many were abstained from."""

    rows: int
    empty: int
    abstained: int = 0


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
    abstain_below: float | None = None,
    thresholds: Mapping[str, float] | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Copy a table and add the columns `label`, `confidence` and, on request, `p_<label>` for each label.

    In a multi-label task the column `labels` takes the place of the first two: the labels that apply, joined by | in
    CSV and TSV, a list in other files.

    None is standard input or output, in `format` (csv by default); the suffix of a file says what it is. A file is
    read twice, so that a bad row is found before the work. A row without text keeps its place and gets no prediction.
    `prefix` goes before the names of the new columns; `excel_safe` puts ' before cells that a spreadsheet would run.
    `abstain_below` and `thresholds` are those of `Classifier.choice`: an unsure row's label is "abstained".
    Raises DataError, RecipeError for flags that contradict each other, WorkError when the output cannot be written,
    and BrokenPipeError when nobody reads standard output any more.
    """
    kind, out = _kinds(source, target, format, excel_safe)
    target = target and Path(os.path.realpath(target))
    check_target(source, target, overwrite)
    multi, choice = classifier.task.multi, classifier.choice(abstain_below, thresholds)
    names = [f"{prefix}{name}" for name in (["labels"] if multi else ["label", "confidence"])]
    names += [f"{prefix}p_{label}" for label in classifier.labels] if probabilities else []
    table = open_table(source, kind, column, names, out)
    rows = empty = abstained = 0
    try:
        with (
            (progress or Silent()).track("predict", table.total) as advance,
            output(target, overwrite) as file,
            WRITERS[out](file, table, names, excel_safe, multi) as write,
        ):
            for chunk, batch in table.chunks:
                scores = score(classifier, texts_of(table.name, chunk, column))
                write(chunk, batch, dict(zip(names, _columns(scores, choice, out), strict=False)))
                file.flush()
                rows += len(scores)
                empty += int(np.isnan(scores[:, 0]).sum())
                abstained += sum(map(choice.abstains, scores))  # never from a row without text, whose scores are NaN
                advance(len(scores))
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise WorkError(f"{target or 'standard output'}: cannot be written: {reason}") from None
    return Summary(rows, empty, abstained)


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


def _columns(scores: NDArray[np.float64], choice: Choice, out: str) -> Iterator[list[Any]]:
    """The values of label and confidence, or of labels, and each label's probability; None in rows without text."""
    filled = ~np.isnan(scores[:, 0])

    def column(of: Callable[[NDArray[np.float64]], Any]) -> list[Any]:
        return [of(row) if there else None for row, there in zip(scores, filled, strict=True)]

    if choice.task.multi:
        form = SEPARATOR.join if out in DELIMITERS else list
        yield column(lambda row: form(choice.labels(row)))
    else:
        yield column(choice.label)
        yield column(choice.confidence)
    for values in scores.T:
        yield [value if there else None for value, there in zip(values.tolist(), filled, strict=True)]


def _kinds(source: Path | None, target: Path | None, format: str | None, excel_safe: bool) -> tuple[str, str]:
    """What the input and the output are, as suffixes."""
    if format is not None and source is not None and target is not None:
        raise RecipeError("--format is for standard input and output; the suffix of a file says what it is")
    kinds = [f".{format or 'csv'}" if path is None else path.suffix.lower() for path in (source, target)]
    for path, kind in zip((source, target), kinds, strict=True):
        if kind not in SUFFIXES or (path is None and kind == ".parquet"):
            raise DataError(f"{path or '-'}: unknown kind of file '{kind}'; expected {', '.join(SUFFIXES)}")
    if excel_safe and kinds[1] not in DELIMITERS:
        raise RecipeError("--excel-safe is for CSV and TSV; spreadsheets run no cell of other files as a formula")
    return kinds[0], kinds[1]
