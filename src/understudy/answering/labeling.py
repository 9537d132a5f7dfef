"""label, for a teacher that is not a model: the same Parquet shards, with its probabilities as logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..artifact import Artifact, Draft, Plan, finished, writing
from ..config import LabelConfig
from ..data.storing import TEST_FILE
from ..data.task import Split
from ..decision import Decision, fit_temperature
from ..errors import ArtifactError, DataError
from ..progress import Progress, Silent
from ..soft_labels import Sheet, confidence, open_splits, read_labels, write_shard
from ..teachers import EndpointTeacher, EnsembleTeacher, FunctionTeacher, OtherTeacher, TableTeacher
from .appointing import ANSWERS
from .asking import Asker, asked, settings_of
from .ordering import wrong_order


def label(teacher: Path, data: Path, out: Path, config: LabelConfig, *, progress: Progress | None = None) -> Artifact:
    """Write the teacher's logits of the train, validation and unlabelled texts, and its temperature.

    Training texts without an answer are left out, within the limit of the teacher's settings. Raises DataError for
    more of them, and for validation texts that a table lacks.
    """
    progress = progress or Silent()
    lead, source = Artifact.load(teacher, ANSWERS), Artifact.load(data, "data")
    inputs = {"teacher": lead.digest, "data": source.digest}
    plan = Plan("label", config.model_dump(include={"shard_size", "folds"}), inputs)
    done = finished(out, plan, progress)
    if done is not None:
        return done
    lead.verify()
    source.verify(without=(TEST_FILE,))
    assert source.task is not None and lead.task is not None
    if lead.task.labels != source.task.labels:
        raise ArtifactError(f"{teacher} was made for other labels than those of {data}; run `understudy train` again")
    splits, settings = open_splits(data), settings_of(lead)
    later = source.measurements["splits"]["test"]["rows"] if getattr(settings, "test", False) else 0
    with (
        asked(lead, splits, later, config.batch_size, progress) as asker,
        writing(out, plan, "labels") as draft,
    ):
        draft.task, draft.text = source.task, lead.text
        known, taken_up = _write(draft, asker, splits, settings, config.shard_size, progress)
        logits = read_labels(draft.path, "val", known[1].ids)
        facts = asker.facts()
        draft.decision = {"temperature": fit_temperature(logits, known[1].labels)}
        draft.measurements = {
            "teacher_calls": facts["calls"], "of_an_interrupted_run": taken_up,
            "unanswered": _unanswered(splits, known), "answers": facts,
            "confidence": confidence(draft.path, known, Decision(source.task.kind)),
        }  # fmt: skip
        draft.warnings = _left_out(splits, known)
    return Artifact.load(out)


def _write(
    draft: Draft, asker: Asker, splits: list[Split], settings: OtherTeacher, size: int, progress: Progress
) -> tuple[list[Split], int]:
    """Write the shards; returns the texts that have an answer, and how many an interrupted run had labelled.

    Only the shards of a function and an ensemble are taken up: a table is as quickly read again, and an endpoint's
    answers are in its journal, where they are counted.
    """
    with progress.track("label with the teacher", sum(map(len, splits))) as advance:
        if isinstance(settings, FunctionTeacher | EnsembleTeacher):
            val = next(split for split in splits if split.name == "val")
            taken_up = _write_missing(draft, asker, val, size, advance)
            if isinstance(settings, FunctionTeacher):
                _check_order(draft, settings, val)  # before the other texts are asked for
            return splits, taken_up + sum(
                _write_missing(draft, asker, split, size, advance) for split in splits if split is not val
            )
        answers = [asker.answer(split, advance) for split in splits]
    known = []
    for split, logits in zip(splits, answers, strict=True):
        silent = np.isnan(logits[:, 0])
        if split.name == "val" and isinstance(settings, EndpointTeacher):
            logits[silent], silent = (
                -np.log(logits.shape[1]),
                np.zeros_like(silent),
            )  # all labels alike: it was asked, and names none
        _check_missing(split, silent, settings)
        known.append((split.take(np.flatnonzero(~silent)), logits[~silent]))
    for split, logits in known:
        for number, (shard, part) in enumerate(Sheet(split.name, split).shards(draft.path, size)):
            write_shard(shard, draft.work / shard.name, part.ids, logits[number * size : number * size + len(part)])
    return [split for split, _ in known], 0


def _write_missing(draft: Draft, asker: Asker, split: Split, size: int, advance: Callable[[int], None]) -> int:
    """Write the shards that are not there yet; returns the number of texts in those that are."""
    taken_up = 0
    for shard, part in Sheet(split.name, split).shards(draft.path, size):
        if shard.exists():
            taken_up += len(part)
            advance(len(part))
        else:
            write_shard(shard, draft.work / shard.name, part.ids, asker.answer(part, advance))
    return taken_up


def _check_order(draft: Draft, settings: FunctionTeacher, val: Split) -> None:
    """Raise DataError if the function's answers for validation, which are then forgotten, show another order."""
    assert draft.task is not None
    shown = wrong_order(read_labels(draft.path, "val", val.ids), val.labels, draft.task.labels)
    if shown:
        for shard in draft.path.glob("val-*.parquet"):
            shard.unlink()
        raise DataError(
            f"{settings.function} answers in another order than that of the labels ({', '.join(draft.task.labels)}): "
            f"{shown}; return the columns in this order, or a dict of labels for each text"
        )


def _check_missing(split: Split, silent: NDArray[np.bool_], settings: OtherTeacher) -> None:
    if not (silent.any() and isinstance(settings, TableTeacher)):
        return
    first = split.texts[int(silent.argmax())]
    count = f"{int(silent.sum())} of {len(split)} texts of {split.name}"
    what = f"{settings.path}: {count} have no answer, the first {first!r:.60}"
    if split.name == "val":
        raise DataError(f"{what}; students are judged on validation: give a row for every text of it")
    if silent.mean() > settings.max_missing:
        raise DataError(f"{what}; at most {settings.max_missing:.0%} may be missing (teacher.max_missing)")


def _unanswered(splits: list[Split], known: list[Split]) -> dict[str, int]:
    counts = {split.name: len(split) - len(rest) for split, rest in zip(splits, known, strict=True)}
    return {name: count for name, count in counts.items() if count}


def _left_out(splits: list[Split], known: list[Split]) -> list[str]:
    rows = {split.name: len(split) for split in splits}
    return [
        f"{name}: {count} of {rows[name]} texts have no answer of the teacher and are left out of the transfer set"
        for name, count in _unanswered(splits, known).items()
    ]
