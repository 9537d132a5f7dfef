"""--dry-run: what a run would do, how long it would take here, how much disk, how many teacher calls.

Time is arithmetic divided by this machine's measured matrix-product rate. It is right within a factor of two: enough to
choose between waiting and renting a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .artifact import MANIFEST, Artifact
from .config import CutStudent, Recipe, StudentConfig, TextCNNStudent, TransformerStudent
from .data.preparing import prepare
from .data.task import Task
from .errors import ArtifactError
from .pipeline import plan, twins
from .progress import Silent

_PIECES_PER_WORD = 1.35  # English WordPiece, with punctuation
_UTILIZATION = 0.5  # of the measured rate that a training reaches: norms, softmax and the optimiser take the rest


@dataclass(frozen=True)
class Forecast:
    """What a run would take."""

    steps: list[tuple[str, bool]]  # directory or work, whether it is there already
    seconds: float
    disk_bytes: int
    teacher_calls: int
    rows: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """For a person."""
        lines = [f"{'there' if done else 'to do':<6} {name}" for name, done in self.steps]
        rows = ", ".join(f"{name} {count}" for name, count in self.rows.items())
        lines += [
            f"rows: {rows}",
            f"teacher calls: {self.teacher_calls}",
            f"time: about {_duration(self.seconds)} on this machine, if nothing were there yet",
            f"disk: about {self.disk_bytes / 1e6:.0f} MB",
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class _Size:
    """Parameters and multiplications per token of a model."""

    parameters: float
    per_token: float


def estimate(recipe: Recipe, out: Path, base: Path | None) -> Forecast:
    """Read and check the data, then forecast; writes nothing."""
    prepared = prepare(
        Task(recipe.task.name, tuple(recipe.task.labels), recipe.task.metric), recipe.data, recipe.seed, base
    )
    rows = {
        "train": len(prepared.train), "val": len(prepared.val), "test": len(prepared.test),
        "unlabeled": len(prepared.unlabeled),
    }  # fmt: skip
    words = prepared.counts["splits"]["train"]["mean_words"]
    length = min(recipe.teacher.max_length, words * _PIECES_PER_WORD + 2)
    teacher = _teacher_size(recipe)
    students = {student.name: _student_size(student, teacher) for student in recipe.students}
    work = _training_work(recipe, rows, teacher, students) + _inference_work(recipe, rows, teacher, students)
    steps = [(step.out, _exists(out, step.out)) for step in plan(recipe, out, base, Silent())]
    calls = sum(rows[name] for name in ("train", "val", "unlabeled"))
    copies = {"fp32": 4, "fp16": 2, "int8": 1}
    disk = 12 * teacher.parameters + sum(
        (4 + sum(copies[variant] for variant in recipe.variants)) * size.parameters for size in students.values()
    )
    seconds = work * length / (_products_per_second() * _UTILIZATION) + 20 * len(recipe.students) + 60
    return Forecast(steps, seconds, int(disk), 0 if _exists(out, "labels") else calls, rows)


def _training_work(recipe: Recipe, rows: dict[str, int], teacher: _Size, students: dict[str, _Size]) -> float:
    """Products per token of length, forward and backward (three times forward), over all epochs."""
    transfer = rows["train"] + rows["unlabeled"]
    work = 3 * recipe.teacher.epochs * rows["train"] * teacher.per_token if recipe.teacher.train else 0.0
    for student in [*recipe.students, *twins(recipe)]:
        work += 3 * student.epochs * transfer * students[student.name].per_token
    return work


def _inference_work(recipe: Recipe, rows: dict[str, int], teacher: _Size, students: dict[str, _Size]) -> float:
    """Labelling, validation after each epoch, the gate, calibration, test and the timed passes."""
    timed = recipe.benchmark.speed_texts * recipe.benchmark.repeats * 8
    work = (rows["train"] + rows["unlabeled"] + 4 * rows["val"] + rows["test"] + 2 * timed) * teacher.per_token
    for student in recipe.students:
        passes = (student.epochs + 6) * rows["val"] + len(recipe.variants) * (rows["test"] + timed)
        work += passes * students[student.name].per_token
    return work


def _teacher_size(recipe: Recipe) -> _Size:
    from .training.networks import describe_pretrained

    return _Size(*describe_pretrained(recipe.teacher.model))


def _student_size(student: StudentConfig, teacher: _Size) -> _Size:
    match student:
        case CutStudent():
            layers = student.layers if isinstance(student.layers, int) else len(student.layers)
            share = min(1.0, layers / 6)
            return _Size(teacher.parameters * (1 + share) / 2, teacher.per_token * share)
        case TransformerStudent():
            per_token = 12.0 * student.layers * student.width**2
            return _Size(per_token + student.vocabulary * student.width, per_token)
        case TextCNNStudent():
            per_token = float(student.width * student.filters * sum(student.kernels))
            return _Size(per_token + student.vocabulary * student.width, per_token)
        case _:
            from .training.networks import describe_pretrained

            return _Size(*describe_pretrained(student.model))


def _products_per_second() -> float:
    """Multiply-adds per second of a matrix product of a batch's shape, the best of a few."""
    left, right = np.ones((768, 384), np.float32), np.ones((384, 1536), np.float32)
    return left.shape[0] * right.size / min(_seconds(lambda: left @ right) for _ in range(20))


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _exists(out: Path, step: str) -> bool:
    path = out / step.removesuffix(" calibrated")
    if not (path / MANIFEST).exists():
        return False
    try:
        artifact = Artifact.load(path)
    except ArtifactError:
        return False
    return "calibration" in artifact.measurements if step.endswith(" calibrated") else True


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
