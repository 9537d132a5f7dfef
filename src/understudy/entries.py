"""What `benchmark` measures: files of models, and a teacher that is not a model, which has answers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .answering import ANSWERS, answer_test
from .answers import noted, seed_key
from .artifact import Artifact
from .classifier import CASCADE, DEFER_BELOW, Cascade, open_classifier
from .data.task import Split
from .decision import Decision
from .estimates import wilson
from .kinds import HARD_LABEL
from .progress import Progress
from .soft_labels import read_labels
from .thresholds import fit_thresholds

_BATCH = 64  # texts that a function gets at a time


@dataclass(frozen=True)
class Entry:
    """A model to measure: its artifact and what it is; the controls NAME-no-teacher and NAME-hard-label are twins.

    A file with a `seed` is one of NAME's further seeds: it adds to what the results say of NAME and has no row.
    """

    name: str
    role: str  # teacher | student | control
    path: Path
    timed: bool = True
    seed: int | None = None

    @classmethod
    def of(cls, path: Path) -> Entry:
        """What an ONNX artifact is, by what its manifest and the layout of a run say; raises ArtifactError."""
        details = Artifact.load(path, "model").details
        name = path.parent.name if path.name == details.get("variant") else path.name
        if "kind" not in details:
            return cls("teacher", "teacher", path)
        if path.parent.parent.name == "seeds":  # measured by itself, not beside the first
            name = f"{path.parents[2].name}-seed-{name}"
        is_twin = not details.get("soft_labels", True) or name.split("-seed-")[0].endswith(f"-{HARD_LABEL}")
        return cls(name, "control", path, timed=False) if is_twin else cls(name, "student", path)

    @cached_property
    def artifact(self) -> Artifact:
        """What the manifest says, read once."""
        return Artifact.load(self.path, "model")

    @property
    def variant(self) -> str:
        """fp32, fp16, int8, or a form that torch runs."""
        return str(self.artifact.details.get("variant", "torch"))

    @property
    def key(self) -> str:
        """name/variant, of a further seed with /seed-N"""
        model = f"{self.name}/{self.variant}"
        return model if self.seed is None else seed_key(model, self.seed)

    def of_cascade(self, texts: Sequence[str], provider: str) -> dict[str, Any]:
        """What results.json has of a cascade alone: its promise, and who answers how many of these texts."""
        classifier = open_classifier(self.artifact, provider=provider) if self.variant == CASCADE else None
        if not isinstance(classifier, Cascade):
            return {}
        by, names = classifier.answer(texts)[1], [member.artifact.path.name for member in classifier.members]
        answered = {name: wilson(int((by == i).sum()), len(by)).to_dict() for i, name in enumerate(names)}
        promise = self.artifact.measurements.get("certificate")
        return {"cascade": {DEFER_BELOW: classifier.defer_below, "certificate": promise, "answered": answered}}


@dataclass(frozen=True)
class Lead:
    """The directory of a teacher that is not a model, and its soft labels."""

    teacher: Artifact
    labels: Artifact | None

    @classmethod
    def of(cls, teacher: Path | None, labels: Path | None) -> Lead | None:
        """None for a teacher that is a model, or none at all."""
        found = Artifact.load(teacher) if teacher else None
        if found is None or found.kind != ANSWERS:
            return None
        return cls(found, Artifact.load(labels, "labels") if labels else None)

    @property
    def key(self) -> str:
        """name/variant, where the variant is its kind."""
        return f"teacher/{self.teacher.config['kind']}"

    @property
    def temperature(self) -> float:
        """That of its soft labels."""
        return self.labels.temperature if self.labels else 1.0

    @property
    def digest(self) -> str:
        """What its answers depend on."""
        return f"{self.teacher.digest}:{self.temperature}:{self.teacher.config.get('test')}"

    def decision(self, val: Split, *aim: Any) -> Decision:
        """How its answers become labels; those of several by thresholds fitted on its soft labels of validation."""
        assert self.teacher.task is not None
        decision = Decision(self.teacher.task.kind, self.temperature)
        if decision.kind == "single" or not self.labels:
            return decision
        probabilities = decision.probabilities(self.validation(val)[self.key])
        fitted = fit_thresholds(probabilities, val.labels, *aim)
        return replace(decision, thresholds=tuple(threshold.value for threshold in fitted))

    def row(self, decision: Decision) -> dict[str, Any]:
        """Its row in the results, before anything is measured."""
        return {
            "name": "teacher", "role": "teacher", "variant": self.teacher.config["kind"], "params": None,
            "bytes": None, **noted(decision), "calibration": None, "warnings": [], "rung": None, "path": None,
        }  # fmt: skip

    def ask(self, test: Split, progress: Progress) -> tuple[list[str], NDArray[np.float32] | None]:
        """What is to be said of it and its test answers, and these; None if it does not answer all texts."""
        self.teacher.verify()
        found = answer_test(self.teacher, test, _BATCH, progress)
        return [*self.teacher.warnings, *found.said], found.logits

    def validation(self, val: Split) -> dict[str, NDArray[np.float32]]:
        """Its soft labels of validation by its key, if they were given."""
        return {self.key: read_labels(self.labels.path, "val", val.ids)} if self.labels else {}
