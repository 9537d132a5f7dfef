"""A teacher that is not a model, among the models that `benchmark` measures: it has answers and no file to time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .answering import ANSWERS, answer_test
from .artifact import Artifact
from .data.task import Split
from .progress import Progress
from .results import Answers

_BATCH = 64  # texts that a function gets at a time


@dataclass(frozen=True)
class Lead:
    """The teacher's directory, and the temperature of its soft labels."""

    teacher: Artifact
    temperature: float

    @classmethod
    def of(cls, teacher: Path | None, labels: Path | None) -> Lead | None:
        """None for a teacher that is a model, or none at all."""
        found = Artifact.load(teacher) if teacher else None
        if found is None or found.kind != ANSWERS:
            return None
        return cls(found, Artifact.load(labels, "labels").temperature if labels else 1.0)

    @property
    def digest(self) -> str:
        """What its answers depend on."""
        return f"{self.teacher.digest}:{self.temperature}:{self.teacher.config.get('test')}"

    @cached_property
    def row(self) -> dict[str, Any]:
        """Its row in the results; `variant` is its kind."""
        return {
            "name": "teacher", "role": "teacher", "variant": self.teacher.config["kind"], "params": None,
            "bytes": None, "temperature": self.temperature, "calibration": None, "warnings": [], "rung": None,
            "path": None,
        }  # fmt: skip


def ask(lead: Lead, test: Split, progress: Progress) -> tuple[list[str], dict[str, Answers]]:
    """What is to be said of its test answers, and these by the key of its row: none if it does not answer all texts."""
    lead.teacher.verify()
    found = answer_test(lead.teacher, test, _BATCH, progress)
    if found.logits is None:
        return found.said, {}
    return found.said, {f"teacher/{lead.row['variant']}": Answers(found.logits, lead.temperature)}
