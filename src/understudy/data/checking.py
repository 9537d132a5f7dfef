"""What must hold of splits before anything is trained, and what a person should know about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DataError
from .duplicates import first_occurrences, not_in
from .task import Split, Task


def class_counts(split: Split, task: Task) -> dict[str, int]:
    """Rows per label, in the task's order."""
    if task.multi:
        return dict(zip(task.labels, split.labels.sum(axis=0).tolist(), strict=True))
    counts = np.bincount(split.labels, minlength=len(task.labels))
    return dict(zip(task.labels, counts.tolist(), strict=True))


def check_classes(split: Split, task: Task) -> None:
    """Refuse a split of one class, and a training split that lacks a class, or where one applies to every text.

    Without labels only an empty split is refused.
    """
    if len(split) and not split.labeled:
        return
    counts = class_counts(split, task)
    present = [label for label, count in counts.items() if count]
    if not len(split):
        raise DataError(f"{split.name}: no row is left")
    if len(present) < 2 and not task.multi:
        raise DataError(
            f"{split.name}: all {len(split)} rows have the label '{present[0]}'; expected at least two labels"
        )
    if split.name == "train" and len(present) < len(counts):
        absent = next(label for label, count in counts.items() if not count)
        raise DataError(f"train: no row has the label '{absent}'; remove it from the task's labels or add rows")
    always = [label for label, count in counts.items() if task.multi and count == len(split)]
    if split.name == "train" and always:
        raise DataError(
            f"train: every row has the label '{always[0]}', which leaves nothing to learn of it; remove it from the "
            "task's labels or add rows"
        )


def check_cuttable(train: Split, task: Task, missing: Sequence[str]) -> None:
    """Refuse to cut splits from a class that has fewer rows than there would be splits."""
    least = len(missing) + 1
    if not train.labeled:
        if len(train) < least:
            raise DataError(f"train: {len(train)} texts; cutting off {' and '.join(missing)} takes at least {least}")
        return
    for label, count in class_counts(train, task).items():
        if count < least:
            raise DataError(
                f"train: the label '{label}' has {count} row{'s' if count > 1 else ''} with a text of its own; "
                f"cutting off {' and '.join(missing)} takes at least {least}"
            )


def held_out_warnings(val: Split, test: Split, task: Task) -> list[str]:
    """What is odd about validation and test; their rows are never dropped for it."""
    lines = []
    for split in (val, test):
        counts = class_counts(split, task) if split.labeled else {}
        lines += [f"{split.name}: no row has the label '{label}'" for label, count in counts.items() if not count]
        full = [label for label, count in counts.items() if task.multi and count == len(split)]
        lines += [f"{split.name}: every row has the label '{label}'" for label in full]
        repeated = len(split) - len(first_occurrences(split).rows)
        lines += [f"{split.name}: {repeated} repeated texts kept"] if repeated else []
    shared = len(val) - len(not_in(val.texts, test.texts).rows)
    return lines + ([f"val: {shared} texts that recur in test kept"] if shared else [])


def describe(split: Split, task: Task | None) -> dict[str, Any]:
    """Rows and mean words; with a task and labels, rows per class and the majority baseline."""
    words = sum(len(text.split()) for text in split.texts)
    result: dict[str, Any] = {"rows": len(split), "mean_words": round(words / len(split), 2) if len(split) else 0.0}
    if task is not None and split.labeled:
        counts = class_counts(split, task)
        label = max(counts, key=lambda name: counts[name])
        majority = {"label": label, "share": counts[label] / len(split)}
        result |= {"classes": counts, "majority": _commonest_set(split, task) if task.multi else majority}
    return result


def _commonest_set(split: Split, task: Task) -> dict[str, Any]:
    """The set of labels that most rows have, and their share."""
    sets, counts = np.unique(split.labels, axis=0, return_counts=True)
    chosen = [label for label, applies in zip(task.labels, sets[counts.argmax()], strict=True) if applies]
    return {"label": ", ".join(chosen) or "no label", "share": int(counts.max()) / len(split)}
