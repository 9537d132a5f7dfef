"""Several classifiers as one teacher: the weighted mean of their calibrated probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..artifact import Artifact
from ..classifier import MODEL_FILE, Classifier
from ..data.task import Split, Task
from ..errors import ArtifactError, RecipeError
from .rows import logits_of

Probabilities = NDArray[np.float64]

_TEXTS = 1024  # answered between two reports of progress
_ROUNDS = 200  # of EM: the weights of five members then move by less than 1e-4


@dataclass(frozen=True)
class Ensemble:
    """Open members, which answer alike alone and in company, and their weights, which sum to 1."""

    members: tuple[Classifier, ...]
    weights: tuple[float, ...]
    task: Task

    def answer(self, split: Split, advance: Callable[[int], None]) -> NDArray[np.float32]:
        """Logits (n, labels) of a split's texts."""
        parts = [np.empty((0, len(self.task.labels)), dtype=np.float32)]
        for start in range(0, len(split), _TEXTS):
            texts = split.texts[start : start + _TEXTS]
            answers = np.stack([member.predict_proba(texts) for member in self.members])
            mean = np.tensordot(self.weights, answers, axes=1)
            parts.append(logits_of(mean, self.task.labels, self.task.kind, lambda row: f"the ensemble: row {row}")[0])
            advance(len(texts))
        return np.concatenate(parts)


def find_members(names: Sequence[str], base: Path, task: Task) -> list[Artifact]:
    """The artifacts of an ensemble, as seen from `base`; raises RecipeError for one that cannot be a member."""
    found = []
    for name in names:
        try:
            member = Artifact.load(base / name, "model")
        except ArtifactError as error:
            raise RecipeError(f"teacher.members: {error}") from None
        if MODEL_FILE not in member.files:
            raise RecipeError(f"teacher.members: {member.path} is no ONNX artifact: name its fp32 or int8 directory")
        if member.task is None or (member.task.kind, member.task.labels) != (task.kind, task.labels):
            theirs = ", ".join(member.task.labels) if member.task else "none"
            raise RecipeError(
                f"teacher.members: {member.path} has the labels {theirs}, the task has {', '.join(task.labels)}"
            )
        if "temperature" not in member.decision:
            raise RecipeError(f"teacher.members: {member.path} is not calibrated: run `understudy calibrate` on it")
        found.append(member)
    return found


def identity(member: Artifact) -> str:
    """What a member's answers depend on."""
    return f"{member.digest}, temperature {member.temperature!r}"


def fit_weights(members: Sequence[Classifier], val: Split) -> tuple[float, ...]:
    """The weights of a mixture that make the validation labels likeliest.

    EM: w ← mean over texts (of several labels, over texts and labels) of w·p / Σ w·p, p the members' probabilities of
    what is true. Each round raises the likelihood, which has one maximum.
    """
    true = np.stack([_of_truth(member.predict_proba(val.texts), val) for member in members])
    weights = np.full(len(members), 1 / len(members))
    for _ in range(_ROUNDS):
        shares = weights[:, None] * true
        weights = (shares / shares.sum(axis=0)).mean(axis=1)
    return tuple(float(weight) for weight in weights)


@cache
def opened(path: Path, digest: str) -> Classifier:
    """The classifier of a directory, opened once as long as it is what it was."""
    return Classifier.load(path)


def _of_truth(probabilities: Probabilities, val: Split) -> Probabilities:
    if val.labels.ndim == 1:
        return probabilities[np.arange(len(val)), val.labels]
    return np.where(val.labels == 1, probabilities, 1 - probabilities).ravel()
