"""operate: from which probability on a label should be given, for a wanted precision or recall of it.

understudy operate runs/x/students/small/int8 --data runs/x/data --label toxic --precision 0.95
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .artifact import Artifact
from .classifier import decision_of
from .data.storing import TEST_FILE, read_split
from .errors import InputError, UncertifiedError
from .estimates import Estimate, wilson
from .progress import Progress, Silent
from .speed import logits_of
from .thresholds import fit_threshold


@dataclass(frozen=True)
class Operation:
    """A label's threshold, and what it does on the `n` validation texts that it was found on.

    Precision is over the texts that get the label, recall over those that have it, with Wilson's 95 % intervals.
    """

    label: str
    threshold: float
    precision: Estimate
    recall: Estimate
    n: int


def operate(
    model: Path, data: Path, label: str, aim: Literal["precision", "recall"], target: float,
    *, progress: Progress | None = None,
) -> Operation:  # fmt: skip
    """The threshold with the best recall among those that reach the precision on validation, or the other way round.

    Raises UncertifiedError, with the nearest, where none reaches it.
    """
    artifact, source = Artifact.load(model, "model"), Artifact.load(data, "data")
    if source.task is None or artifact.task is None or artifact.task.labels != source.task.labels:
        raise InputError(f"{model} and {data} are not of the same labels in the same order")
    if label not in source.task.labels:
        raise InputError(f"{data} has no label {label!r}; it has {', '.join(source.task.labels)}")
    for needed in (artifact, source):
        needed.verify(without=(TEST_FILE,))
    val, place = read_split(data / "val.parquet", "val"), source.task.labels.index(label)
    if not val.labeled:
        raise InputError(f"{data} has no labels of validation to count by")
    truth = (val.labels[:, place] if source.task.multi else val.labels == place).astype("int64")
    if not truth.any():
        raise InputError(f"no validation text has the label {label!r}")
    with (progress or Silent()).track("find a threshold", len(val)) as advance:
        scores = decision_of(artifact).probabilities(logits_of(artifact, val.texts))[:, place]
        advance(len(val))
    found = fit_threshold(scores, truth, aim, target)
    given = scores >= found.value
    right = int((given & (truth == 1)).sum())
    made = Operation(
        label, found.value, wilson(right, int(given.sum())), wilson(right, int(truth.sum())), len(val)
    )  # fmt: skip
    if not found.reached:
        nearest: Estimate = getattr(made, aim)
        raise UncertifiedError(
            f"no threshold of {label!r} reaches a {aim} of {target:g} on {len(val):,} validation texts; the nearest, "
            f"{found.value:.4f}, has {nearest.value:.3f} [{nearest.low:.3f}, {nearest.high:.3f}]"
        )
    return made
