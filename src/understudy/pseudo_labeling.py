"""pseudo-label: soft labels + data without gold labels → the same data, its texts labelled by the teacher.

understudy pseudo-label runs/x/labels --data runs/x/data --out runs/x/pseudo-labels

What comes after it (students, INT8 ranges, calibration, the bag of words) then knows the teacher's choice where it
would know the gold label, and the manifest says so. Gold labels of val and test stay what they are.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .artifact import Artifact, Plan, finished, writing
from .data.checking import describe
from .data.storing import TEST_FILE, write_split
from .data.task import Task
from .errors import RecipeError, WorkError
from .progress import Progress, Silent
from .soft_labels import check_made_of, open_splits, taught

if TYPE_CHECKING:
    from .config import StudentConfig

STAGE = "pseudo-label"


def pseudo_label(labels: Path, data: Path, out: Path, *, progress: Progress | None = None) -> Artifact:
    """Write the splits with the teacher's labels where they have none; texts that it abstains from are left out.

    The test split is copied unread. Raises WorkError if the teacher gives every training text the same label.
    """
    soft, source = Artifact.load(labels, "labels"), Artifact.load(data, "data")
    plan = Plan(STAGE, {}, {"labels": soft.digest, "data": source.digest})
    done = finished(out, plan, progress or Silent())
    if done is not None:
        return done
    check_made_of(soft, source)
    for needed in (soft, source):
        needed.verify(without=(TEST_FILE,))
    assert source.task is not None
    with writing(out, plan, "data") as draft:
        draft.task, draft.text = source.task, source.text
        counts = dict(source.measurements["splits"])
        changed = {}
        for split in open_splits(data):
            found = taught(labels, split) if split.name != "unlabeled" else split
            write_split(found, draft.path / f"{split.name}.parquet")
            if found is not split:
                counts[split.name] = describe(found, source.task)
                changed[split.name] = {"labelled": len(found), "unanswered": len(split) - len(found)}
        _check_varied(counts["train"], source.task)
        shutil.copyfile(data / TEST_FILE, draft.path / TEST_FILE)
        draft.measurements = source.measurements | {"splits": counts, "labels_of_the_teacher": changed}
    return Artifact.load(out)


def _check_varied(train: Mapping[str, Any], task: Task) -> None:
    """Raise WorkError where the teacher's labels leave nothing to learn."""
    rows, given = train["rows"], train["classes"]
    same = [label for label, count in given.items() if count == rows or (task.multi and not count)]
    if same:
        word = "all" if given[same[0]] else "none of the"
        raise WorkError(
            f"the teacher gives {word} {rows} training texts the label '{same[0]}', which leaves nothing to learn; "
            f"check teacher.label_map{' or remove it from the labels of the task' if task.multi else ''}"
        )


def origin(data: Artifact) -> str:
    """The digest of the prepared data that a data directory comes from: its own, or that of what was labelled."""
    return data.inputs["data"] if data.stage == STAGE else data.digest


def check_trainable(data: Artifact, student: StudentConfig, use_teacher: bool) -> None:
    """Raise RecipeError if a student would take the teacher's choices for gold labels."""
    if data.stage != STAGE:
        return
    if not use_teacher:
        raise RecipeError(f"{data.path} has no gold labels: no student can learn from it without the teacher")
    if setting := student.needs_gold:
        raise RecipeError(f"{data.path} has no gold labels, which {setting} needs")
