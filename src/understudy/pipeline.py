"""run: a recipe → teacher, soft labels, students, their files, measurements, report.

DIR/
├── data/  teacher/  teacher-fp32/  labels/
├── students/NAME/{torch,fp32,fp16,int8}/
├── controls/NAME-no-teacher/{torch,fp32}/
├── benchmark/          results, test logits
└── report/             report.html, report.md, results.json, *.png
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .artifact import MANIFEST, Artifact, write_atomically
from .benchmarking import RESULTS, Entry, benchmark
from .calibration import calibrate
from .config import Recipe, StudentConfig
from .errors import InputError, RecipeError
from .preparation import prepare
from .progress import Progress
from .quantization import GateRefusedError, quantize
from .reporting import model_card, report

NOTE = "run.json"
LOCK = ".lock"


@dataclass(frozen=True)
class Step:
    """A stage of a run: what it writes and how."""

    out: str
    work: Callable[[], object]


def run(recipe: Recipe, out: Path, base: Path | None, progress: Progress) -> dict[str, Any]:
    """Do all stages that are not done yet; returns the results. Raises RecipeError for a directory of another task."""
    with _locked(out):
        _claim(out, recipe)
        steps = list(plan(recipe, out, base, progress))
        for number, step in enumerate(steps, 1):
            progress.note(f"[{number}/{len(steps)}] {step.out}")
            step.work()
    results: dict[str, Any] = json.loads((out / "report" / RESULTS).read_text(encoding="utf-8"))
    return results


def plan(recipe: Recipe, out: Path, base: Path | None, progress: Progress) -> Iterator[Step]:
    """The stages in order; each is a no-op when its directory is up to date."""
    from .training import export, label, train

    seed, data, teacher, labels = recipe.seed, out / "data", out / "teacher", out / "labels"
    onnx = out / "teacher-fp32"
    yield Step("data", lambda: prepare(recipe.task, recipe.data, data, base, seed=seed, progress=progress))
    yield Step("teacher", lambda: train(data, teacher, recipe.teacher, seed=seed, progress=progress))
    yield Step("labels", lambda: label(teacher, data, labels, recipe.label, progress=progress))
    yield Step("teacher-fp32", lambda: export(teacher, data, onnx, recipe.export, seed=seed, progress=progress))
    yield Step("teacher-fp32 calibrated", lambda: calibrate(onnx, data, progress=progress))
    for student in recipe.students:
        yield from _student_steps(student, recipe, out, progress)
    for student in twins(recipe):
        yield from _twin_steps(student, recipe, out, progress)
    yield Step("benchmark", lambda: _measure(recipe, out, progress))
    yield Step("model cards", lambda: _write_cards(out))
    yield Step("report", lambda: report(out / "benchmark", out / "report", progress=progress))


def twins(recipe: Recipe) -> list[StudentConfig]:
    """The students that also learn without the teacher."""
    return {"none": [], "first": list(recipe.students[:1]), "all": list(recipe.students)}[recipe.controls]


def _student_steps(student: StudentConfig, recipe: Recipe, out: Path, progress: Progress) -> Iterator[Step]:
    from .training import distill, export

    seed, data = recipe.seed, out / "data"
    home = out / "students" / student.name
    name = f"students/{student.name}"
    yield Step(
        f"{name}/torch",
        lambda: distill(out / "teacher", out / "labels", data, home / "torch", student, seed=seed, progress=progress),
    )
    yield Step(
        f"{name}/fp32",
        lambda: export(home / "torch", data, home / "fp32", recipe.export, seed=seed, progress=progress),
    )
    for variant in recipe.variants:
        if variant != "fp32":
            yield Step(f"{name}/{variant}", _quantizer(home, variant, recipe, data, progress))
        yield Step(f"{name}/{variant} calibrated", _calibrator(home / variant, data, progress))


def _quantizer(home: Path, variant: Any, recipe: Recipe, data: Path, progress: Progress) -> Callable[[], None]:
    def work() -> None:
        try:
            quantize(
                home / "fp32",
                data,
                home / variant,
                recipe.quantize,
                precision=variant,
                seed=recipe.seed,
                progress=progress,
            )
        except GateRefusedError as refusal:  # the other files are fine: the run goes on without this one
            shutil.rmtree(home / variant, ignore_errors=True)  # one of an older recipe must not be measured
            progress.note(f"warning: {refusal}")

    return work


def _calibrator(model: Path, data: Path, progress: Progress) -> Callable[[], None]:
    def work() -> None:
        if model.exists():
            calibrate(model, data, progress=progress)

    return work


def _twin_steps(student: StudentConfig, recipe: Recipe, out: Path, progress: Progress) -> Iterator[Step]:
    from .training import distill, export

    seed, data = recipe.seed, out / "data"
    home = out / "controls" / f"{student.name}-no-teacher"
    name = f"controls/{home.name}"
    yield Step(
        f"{name}/torch",
        lambda: distill(
            out / "teacher",
            out / "labels",
            data,
            home / "torch",
            student,
            seed=seed,
            use_teacher=False,
            progress=progress,
        ),
    )
    yield Step(
        f"{name}/fp32",
        lambda: export(home / "torch", data, home / "fp32", recipe.export, seed=seed, progress=progress),
    )
    yield Step(f"{name}/fp32 calibrated", lambda: calibrate(home / "fp32", data, progress=progress))


def _measure(recipe: Recipe, out: Path, progress: Progress) -> Artifact:
    entries = [Entry("teacher", "teacher", out / "teacher-fp32")]
    with_twin = {student.name for student in twins(recipe)}
    for student in recipe.students:
        twin = f"{student.name}-no-teacher" if student.name in with_twin else ""
        homes = [out / "students" / student.name / variant for variant in recipe.variants]
        entries += [Entry(student.name, "student", home, twin) for home in homes if home.exists()]
    for name in sorted(with_twin):
        entries.append(
            Entry(f"{name}-no-teacher", "control", out / "controls" / f"{name}-no-teacher" / "fp32", timed=False)
        )
    notes = {"recipe": recipe.model_dump(), "training": _trainings(recipe, out)}
    return benchmark(
        entries, out / "data", out / "benchmark", recipe.benchmark, teacher=out / "teacher", notes=notes,
        seed=recipe.seed, progress=progress,
    )  # fmt: skip


def _write_cards(out: Path) -> None:
    """A README.md in every measured artifact; not part of its manifest, since nothing loads it."""
    results = json.loads((out / "benchmark" / RESULTS).read_text(encoding="utf-8"))
    for model in results["models"]:
        if model["path"] and model["role"] != "control":
            card, file = model_card(results, model).encode(), out / model["path"] / "README.md"
            if not file.exists() or file.read_bytes() != card:
                write_atomically(file, card)


def _trainings(recipe: Recipe, out: Path) -> list[dict[str, Any]]:
    """The history of every training in the run."""
    homes = {"teacher": out / "teacher"}
    homes |= {student.name: out / "students" / student.name / "torch" for student in recipe.students}
    homes |= {f"{s.name}-no-teacher": out / "controls" / f"{s.name}-no-teacher" / "torch" for s in twins(recipe)}
    trained = {name: Artifact.load(home, "model").measurements for name, home in homes.items()}
    keys = ("history", "best_epoch", "seconds")
    return [
        {"name": name, **{k: measured[k] for k in keys}} for name, measured in trained.items() if "history" in measured
    ]


def _claim(out: Path, recipe: Recipe) -> None:
    """Mark a directory as this task's; refuse one in which the data of another task is prepared."""
    note = out / NOTE
    ours = {"task": recipe.task.name, "labels": list(recipe.task.labels)}
    if note.exists() and (out / "data" / MANIFEST).exists():
        try:
            theirs = json.loads(note.read_text(encoding="utf-8"))
            task, labels = theirs["task"], ", ".join(theirs["labels"])
        except (ValueError, KeyError, TypeError):
            raise RecipeError(f"{note} is damaged; choose another --out, or delete {out}") from None
        if theirs != ours:
            raise RecipeError(
                f"{out} belongs to the task {task!r} with labels {labels}; this recipe's task is {ours['task']!r} with "
                f"{', '.join(recipe.task.labels)}: choose another --out"
            )
    content = json.dumps(ours, ensure_ascii=False).encode()
    if not note.exists() or note.read_bytes() != content:
        write_atomically(note, content)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """One run at a time in a directory; the lock goes with the process, however it ends."""
    try:
        if out.is_dir() and any(out.iterdir()) and not (out / NOTE).exists() and not (out / LOCK).exists():
            raise RecipeError(f"{out} holds files that understudy did not write; choose another --out or empty it")
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out / LOCK, os.O_CREAT | os.O_RDWR)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{out} is not a directory; choose another --out") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f"{out} cannot be written to: {error.strerror}; choose another --out") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another understudy is at work in {out}; wait for it or choose another --out") from None
        yield
    finally:
        os.close(handle)
