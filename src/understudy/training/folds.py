"""Out-of-fold teachers: each part of train is labelled by a teacher that was trained on the other parts.

A teacher is too sure of the texts that it was trained on: it has learnt their labels, and its logits say less of what
it would say of a text that it never saw. Out-of-fold predictions are those of Wolpert's stacking (1992).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..artifact import Artifact, Plan, finished, writing
from ..config import TeacherConfig
from ..data.splitting import stratified_folds
from ..data.task import Split
from ..errors import ArtifactError
from ..progress import Progress
from . import networks, origins
from .finetuning import fine_tune


@dataclass(frozen=True)
class Fold:
    """A part of train, from 1 to `count`: the texts to label, and the others, which its teacher is trained on."""

    number: int
    count: int
    texts: Split
    others: Split


def cut_folds(train: Split, count: int, seed: int) -> Iterator[Fold]:
    """The stratified parts of train. Raises ArtifactError if there are more parts than texts."""
    if count > len(train):
        raise ArtifactError(f"train has {len(train)} texts, which cannot be cut into {count} parts; lower folds")
    fold = stratified_folds(train.labels, count, seed)
    for number in range(count):
        texts, others = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        yield Fold(number + 1, count, train.take(texts), train.take(others))


def check_repeatable(teacher: Artifact, data: Artifact) -> None:
    """Raise ArtifactError unless the teacher was fine-tuned on this data, from a model that is still what it was."""
    if not (teacher.stage == "train" and teacher.config["train"]):
        raise ArtifactError(f"{teacher.path} was not trained here, so folds cannot train it again; set folds = 0")
    if teacher.inputs != {"data": data.digest, **origins.digests(origins.of(teacher))}:
        raise ArtifactError(
            f"{teacher.path} was trained on other data than {data.path}, or {teacher.config['model']} has changed; run "
            "`understudy train` again, or set folds = 0"
        )


def train_fold(
    teacher: Artifact, fold: Fold, val: Split, more: Sequence[str], out: Path, progress: Progress
) -> Artifact:
    """The teacher once more, trained as it was, with its seed, but without the texts of the fold."""
    config = TeacherConfig(**teacher.config | {"model": origins.of(teacher)})
    plan = Plan("train", teacher.config, {"teacher": teacher.key, "fold": f"{fold.number}/{fold.count}"}, teacher.seed)
    done = finished(out, plan, progress)
    if done is not None:
        return done
    assert teacher.text is not None
    with writing(out, plan, "model") as draft:
        draft.task = teacher.task
        network = fine_tune(
            draft, config, teacher.text, fold.others, val, more, seed=teacher.seed, progress=progress,
            description=f"train without fold {fold.number}/{fold.count}",
        )  # fmt: skip
        networks.save(network, draft.path, draft.task.kind if draft.task else "single")
    return Artifact.load(out)
