"""annotate: soft labels + data → every text with the teacher's answer, for people: CSV and Parquet.

understudy annotate runs/x/labels --data runs/x/data --out runs/x/annotated

Columns: id, split, text, gold (empty where there is none), label (the teacher's; empty where it abstains), confidence
and p_<label>, the calibrated probabilities that students learn from. A teacher whose labels are mapped has its own
answer beside it, not calibrated: own_label and own_p_<label>. In a multi-label task `labels`, those that the teacher
thinks likelier than not, takes the place of label and confidence; labels of one text are joined by |.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .artifact import Artifact, Plan, finished, writing
from .config import FORMATS
from .data.formats import CHUNK, Chunk, Row
from .data.storing import TEST_FILE
from .data.tables import Table
from .data.task import Split
from .data.writing import WRITERS, output
from .decision import Decision, softmax
from .label_mapping import LabelMapping, read_mapping
from .progress import Progress, Silent
from .soft_labels import OWN, Logits, check_made_of, labelled, open_splits, read_labels

NAME = "annotated"


def annotate(
    labels: Path, data: Path, out: Path, formats: Sequence[str] = FORMATS, *, progress: Progress | None = None
) -> Artifact:
    """Write annotated.csv and annotated.parquet: the train, validation and unlabelled texts, never those of test.

    Nobody asks the teacher again. In the CSV a ' stands before cells that a spreadsheet would run as a formula.
    """
    progress, formats = progress or Silent(), list(dict.fromkeys(formats))
    soft, source = Artifact.load(labels, "labels"), Artifact.load(data, "data")
    inputs = {"labels": f"{soft.digest}:{soft.temperature}", "data": source.digest}
    plan = Plan("annotate", {"formats": formats}, inputs)
    done = finished(out, plan, progress)
    if done is not None:
        return done
    check_made_of(soft, source)
    for needed in (soft, source):
        needed.verify(without=(TEST_FILE,))
    splits, mapping = [labelled(labels, split) for split in open_splits(data)], read_mapping(labels)
    rows = sum(map(len, splits))
    with writing(out, plan, "annotated") as draft, progress.track("annotate", rows * len(formats)) as advance:
        draft.task = source.task
        for kind in formats:
            known = ("id", "split", "text", "gold", *(["own_label"] if mapping else []))
            table, names = Table(NAME, dict.fromkeys(known), rows, ()), _names(soft, mapping)
            with (
                output(draft.path / f"{NAME}.{kind}", overwrite=False) as file,
                WRITERS[f".{kind}"](file, table, names, True, False) as write,
            ):
                for chunk, columns in _annotated(soft, splits, mapping):
                    write(chunk, None, dict(zip(names, columns, strict=True)))
                    advance(len(chunk.rows))
        draft.measurements = {"rows": {split.name: len(split) for split in splits}}
    return Artifact.load(out)


def _names(labels: Artifact, mapping: LabelMapping | None) -> list[str]:
    """The columns of the answers, as `_annotated` gives them."""
    assert labels.task is not None
    chosen = ["labels"] if labels.task.multi else ["label", "confidence"]
    names = [*chosen, *(f"p_{label}" for label in labels.task.labels)]
    return names + [f"own_p_{label}" for label in (mapping.theirs if mapping else ())]


def _annotated(
    labels: Artifact, splits: Sequence[Split], mapping: LabelMapping | None
) -> Iterator[tuple[Chunk, list[list[Any]]]]:
    """The rows of all splits, a chunk at a time, and the columns of the teacher's answers."""
    for split in (split for split in splits if len(split)):
        logits = read_labels(labels.path, split.name, split.ids)
        own = read_labels(labels.path, split.name, split.ids, OWN) if mapping else logits
        for start in range(0, len(split), CHUNK):
            part = split.take(range(start, min(start + CHUNK, len(split))))
            here = slice(start, start + len(part))
            yield _chunk(labels, part, start, logits[here], own[here], mapping)


def _chunk(
    labels: Artifact, part: Split, start: int, logits: Logits, own: Logits, mapping: LabelMapping | None
) -> tuple[Chunk, list[list[Any]]]:
    assert labels.task is not None
    task, decision = labels.task, Decision(labels.task.kind, labels.temperature)
    rows: list[Row] = [
        {"id": name, "split": part.name, "text": text, "gold": gold}
        for name, text, gold in zip(part.ids, part.texts, task.named(part.labels), strict=True)
    ]
    shares, chosen = decision.probabilities(logits), task.named(decision.choose(logits))
    columns: list[list[Any]] = [*([] if task.multi else [shares.max(axis=1).tolist()]), *shares.T.tolist()]
    if mapping is not None:
        for row, best in zip(rows, own.argmax(axis=1), strict=True):
            row["own_label"] = mapping.theirs[best]
        chosen = [None if empty else label for label, empty in zip(chosen, mapping.abstains(own), strict=True)]
        columns += softmax(own).T.tolist()
    return Chunk(start, rows), [chosen, *columns]
