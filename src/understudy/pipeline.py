"""run: a recipe → teacher, soft labels, students, their files, measurements, report.

DIR/
├── data/  teacher/  teacher-fp32/  labels/
├── students/NAME/{torch,fp32,fp16,int8}/
├── controls/NAME-no-teacher/{torch,fp32}/
├── tune/               searches; see `searching`
├── benchmark/          results, test logits
└── report/             report.html, report.md, results.json, *.png
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .artifact import MANIFEST, Artifact
from .benchmarking import RESULTS, Entry, benchmark
from .calibration import calibrate
from .classifier import TOKENIZER_FILE
from .config import Recipe, StudentConfig
from .errors import InputError, RecipeError
from .files import write_atomically
from .layer_checks import check_layers
from .preparation import prepare, summary
from .progress import Progress
from .quantization import GateRefusedError, Precision, quantize
from .reporting import model_card, report

NOTE = "run.json"
LOCK = ".lock"


@dataclass(frozen=True)
class Step:
    """A stage of a run: what it writes, how, from which steps' results and with which settings in its plan."""

    out: str
    work: Callable[[], Artifact | None]
    needs: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


def run(recipe: Recipe, out: Path, base: Path | None, progress: Progress) -> dict[str, Any]:
    """Do all stages that are not done yet; returns the results. Raises RecipeError for a directory of another task."""
    with claimed(out, recipe):
        work(list(plan(recipe, out, base, progress)), progress)
    results: dict[str, Any] = json.loads((out / "report" / RESULTS).read_text(encoding="utf-8"))
    return results


@contextmanager
def claimed(out: Path, recipe: Recipe) -> Iterator[None]:
    """Work in a directory alone, as the recipe's task; raises RecipeError for a directory of another task."""
    with _locked(out):
        refuse_another_task(out, recipe)
        _claim(out, recipe)
        yield


def work(steps: Sequence[Step], progress: Progress) -> None:
    """Do the stages that are not done yet, one after the other."""
    for number, step in enumerate(steps, 1):
        progress.note(f"[{number}/{len(steps)}] {step.out}")
        _tell(step.work(), progress)


def _tell(made: Artifact | None, progress: Progress) -> None:
    """What a person should know about a finished stage."""
    if made is None:
        return
    for line in summary(made) if made.kind == "data" else []:
        progress.note(f"  {line}")
    if made.kind == "labels":
        means = ", ".join(f"{name} {mean:.3f}" for name, mean in made.measurements["confidence"].items())
        progress.note(f"  mean confidence of the teacher: {means}")
        for column in ("hidden", "attention"):
            if size := made.measurements.get(f"{column}_bytes"):
                progress.note(f"  {column} of the teacher's layers: {size / 1e6:.1f} MB")
    for warning in made.warnings:
        progress.note(f"  warning: {warning}")


def plan(recipe: Recipe, out: Path, base: Path | None, progress: Progress) -> Iterator[Step]:
    """The stages in order; each is a no-op when its directory is up to date."""
    from .training import export, label, train

    seed, data, teacher, labels = recipe.seed, out / "data", out / "teacher", out / "labels"
    onnx = out / "teacher-fp32"
    yield Step(
        "data",
        lambda: prepare(recipe.task, recipe.data, data, base, seed=seed, progress=progress),
        (),
        {"task": recipe.task.model_dump(), "data": recipe.data.model_dump()},
    )

    def learn() -> Artifact:
        if not (teacher / MANIFEST).exists():
            check_layers(recipe)
        return train(data, teacher, recipe.teacher, seed=seed, progress=progress)

    yield Step(
        "teacher",
        learn,
        ("data",),
        recipe.teacher.model_dump(),
    )
    yield Step(
        "labels",
        lambda: label(teacher, data, labels, recipe.labelling, progress=progress),
        ("teacher",),
        recipe.labelling.decisive,
    )
    yield Step(
        "teacher-fp32",
        lambda: export(teacher, data, onnx, recipe.export, seed=seed, progress=progress),
        ("teacher",),
        recipe.export.model_dump(),
    )
    yield Step("teacher-fp32 calibrated", _calibrator(onnx, data, progress), ("teacher-fp32",))
    finals, refused = ["teacher-fp32 calibrated"], list[str]()
    for student in recipe.students:
        for step in _student_steps(student, recipe, out, refused, progress):
            finals.append(step.out)
            yield step
    for student in twins(recipe):
        for step in _twin_steps(student, recipe, out, progress):
            finals.append(step.out)
            yield step
    yield Step(
        "benchmark", lambda: _measure(recipe, out, refused, progress), tuple(finals), recipe.benchmark.model_dump()
    )
    yield Step("model cards", lambda: _write_cards(out), ("benchmark",))
    yield Step("report", lambda: report(out / "benchmark", out / "report", progress=progress), ("benchmark",))


def twins(recipe: Recipe) -> list[StudentConfig]:
    """The students that also learn without the teacher."""
    return {"none": [], "first": list(recipe.students[:1]), "all": list(recipe.students)}[recipe.controls]


def _student_steps(
    student: StudentConfig, recipe: Recipe, out: Path, refused: list[str], progress: Progress
) -> Iterator[Step]:
    from .training import distill, export

    seed, data = recipe.seed, out / "data"
    home = out / "students" / student.name
    name = f"students/{student.name}"
    yield Step(
        f"{name}/torch",
        lambda: distill(out / "teacher", out / "labels", data, home / "torch", student, seed=seed, progress=progress),
        ("labels",),
        student.model_dump(),
    )
    yield Step(
        f"{name}/fp32",
        lambda: export(home / "torch", data, home / "fp32", recipe.export, seed=seed, progress=progress),
        (f"{name}/torch",),
        recipe.export.model_dump(),
    )
    for variant in recipe.variants:
        file = f"{name}/{variant}"
        if variant != "fp32":
            work = _quantizer(home, variant, recipe, data, refused, progress)
            yield Step(file, work, (f"{name}/fp32",), recipe.quantize.model_dump())
        yield Step(f"{file} calibrated", _calibrator(home / variant, data, progress), (file,))


def _quantizer(
    home: Path, variant: Precision, recipe: Recipe, data: Path, refused: list[str], progress: Progress
) -> Callable[[], Artifact | None]:
    def work() -> Artifact | None:
        source, file, seed = home / "fp32", home / variant, recipe.seed
        try:
            return quantize(source, data, file, recipe.quantize, precision=variant, seed=seed, progress=progress)
        except GateRefusedError as refusal:  # the other files are fine: the run goes on without this one
            shutil.rmtree(file, ignore_errors=True)  # one of an older recipe must not be measured
            progress.note(f"  warning: {refusal}")
            refused.append(str(refusal))
            return None

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

    def learn() -> Artifact:
        teacher, labels = out / "teacher", out / "labels"
        return distill(teacher, labels, data, home / "torch", student, seed=seed, use_teacher=False, progress=progress)

    yield Step(f"{name}/torch", learn, ("labels",), student.model_dump())
    yield Step(
        f"{name}/fp32",
        lambda: export(home / "torch", data, home / "fp32", recipe.export, seed=seed, progress=progress),
        (f"{name}/torch",),
        recipe.export.model_dump(),
    )
    yield Step(f"{name}/fp32 calibrated", _calibrator(home / "fp32", data, progress), (f"{name}/fp32",))


def _measure(recipe: Recipe, out: Path, refused: list[str], progress: Progress) -> Artifact:
    entries = [Entry("teacher", "teacher", out / "teacher-fp32")]
    for student in recipe.students:
        homes = [out / "students" / student.name / variant for variant in recipe.variants]
        entries += [Entry(student.name, "student", home) for home in homes if home.exists()]
    for name in (f"{student.name}-no-teacher" for student in twins(recipe)):
        entries.append(Entry(name, "control", out / "controls" / name / "fp32", timed=False))
    shown = recipe.model_dump(exclude={"tune"})  # a search changes nothing in a run
    notes = {"recipe": shown, "training": _trainings(recipe, out), "refused": refused}
    notes |= {"teacher_confidence": Artifact.load(out / "labels").measurements["confidence"]}
    return benchmark(
        entries, out / "data", out / "benchmark", recipe.benchmark, teacher=out / "teacher", notes=notes,
        seed=recipe.seed, progress=progress,
    )  # fmt: skip


def _write_cards(out: Path) -> None:
    """A README.md in every artifact that a person may use; not part of its manifest, since nothing loads it."""
    results = json.loads((out / "benchmark" / RESULTS).read_text(encoding="utf-8"))
    measured = [model for model in results["models"] if model["path"] and model["role"] != "control"]
    trained = {model["name"]: _as_torch(model, out) for model in measured if model["role"] == "student"}
    results["models"] += trained.values()
    for model in [*measured, *trained.values()]:
        card, file = model_card(results, model).encode(), out / model["path"] / "README.md"
        if not file.exists() or file.read_bytes() != card:
            write_atomically(file, card)


def _as_torch(model: dict[str, Any], out: Path) -> dict[str, Any]:
    """The row of the trained student that a measured file was made of; it was not measured itself."""
    path = Path(model["path"]).with_name("torch")
    unknown = dict.fromkeys(("calibration", "retention", "agreement"))
    size = Artifact.load(out / path).bytes_of("model.safetensors", "config.json", TOKENIZER_FILE)
    return {**model, **unknown, "variant": "torch", "path": str(path), "bytes": size, "metrics": {}, "speed": []}


def _trainings(recipe: Recipe, out: Path) -> list[dict[str, Any]]:
    """The history and the warnings of every training in the run."""
    homes = {"teacher": out / "teacher"}
    homes |= {student.name: out / "students" / student.name / "torch" for student in recipe.students}
    homes |= {f"{s.name}-no-teacher": out / "controls" / f"{s.name}-no-teacher" / "torch" for s in twins(recipe)}
    trained = {name: Artifact.load(home, "model") for name, home in homes.items()}
    keys = ("history", "best_epoch", "seconds")
    return [
        {"name": name, **{key: made.measurements[key] for key in keys}, "warnings": made.warnings}
        for name, made in trained.items()
        if "history" in made.measurements
    ]


def refuse_another_task(out: Path, recipe: Recipe) -> None:
    """Raise RecipeError if the data of another task is prepared in the directory."""
    note, ours = out / NOTE, _owner(recipe)
    if not (note.exists() and (out / "data" / MANIFEST).exists()):
        return
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


def _claim(out: Path, recipe: Recipe) -> None:
    """Mark a directory as this task's."""
    note, content = out / NOTE, json.dumps(_owner(recipe), ensure_ascii=False).encode()
    if not note.exists() or note.read_bytes() != content:
        write_atomically(note, content)


def _owner(recipe: Recipe) -> dict[str, Any]:
    return {"task": recipe.task.name, "labels": list(recipe.task.labels)}


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
