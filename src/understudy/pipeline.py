"""run: a recipe → teacher, soft labels, students, their files, measurements, report.

DIR/
├── data/  teacher/  teacher-{fp32,fp16,int8…}/  labels/
├── pseudo-labels/      the data with the teacher's labels, where train has none
├── annotated/          the texts with the teacher's answers, on request
├── students/NAME/{torch,fp32,fp16,int8,int8-dynamic,torchscript,exported,torch-fp16}/
│   └── seeds/N/…       the same from another seed
├── controls/NAME-{no-teacher,hard-label}/{torch,fp32}/    with seeds/N/ likewise
├── tries/NAME/         what a student is worth to a budget; see `climbing`
├── tune/               searches; see `searching`
├── benchmark/          results, test logits
├── report/             report.html, report.md, results.json, *.png
└── run.log             what all of this said, with times
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from . import variants
from .annotating import annotate
from .answering import appoint, outside
from .answering import label as label_with_answers
from .artifact import MANIFEST, Artifact
from .benchmarking import RESULTS, benchmark
from .calibration import calibrate
from .cards import write_cards
from .claiming import claimed
from .climbing import fits, ladder, outcome, place_of_try, settings_of_try, try_out
from .config import Recipe, StudentConfig, TeacherConfig
from .layer_checks import check_layers
from .lineup import lineup
from .preparation import prepare, task_of
from .progress import Progress, Silent
from .pseudo_labeling import pseudo_label
from .reporting import report
from .run_log import logged
from .sections import Variant
from .speed import check_provider
from .students import Twin, left_out, seeded, twin_homes, twins, variants_of
from .teachers import OtherTeacher
from .telling import tell
from .tracking import tracking


@dataclass(frozen=True)
class Step:
    """A stage of a run: what it writes, how, from which steps' results and with which settings in its plan."""

    out: str
    work: Callable[[], Artifact | None]
    needs: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)  # digests in its plan, as far as they are known beforehand


def run(recipe: Recipe, out: Path, base: Path | None, progress: Progress) -> dict[str, Any]:
    """Do all stages that are not done yet; returns the results. Raises RecipeError for a directory of another task."""
    if not (out / "benchmark").exists():
        check_provider(recipe.benchmark.provider)  # now, not after the training
    title = f"run of the task {recipe.task.name}"
    with claimed(out, recipe), logged(out, title, progress) as told, tracking(recipe, out, told) as record:
        for said in left_out(recipe):
            told.note(f"warning: {said}")
        most = len(list(plan(recipe, out, base, Silent())))  # a budget may be met earlier
        count = f"at most {most}" if recipe.budget else f"{most}"
        work(plan(recipe, out, base, told), told, record, count)
    results: dict[str, Any] = json.loads((out / "report" / RESULTS).read_text(encoding="utf-8"))
    return results


def work(
    steps: Iterable[Step], progress: Progress, record: Callable[[str], None] = lambda stage: None, count: str = ""
) -> None:
    """Do the stages that are not done yet, one after the other, and record each; `count`: how many they are."""
    for number, step in enumerate(steps, 1):
        progress.note(f"[{number}/{count}] {step.out}" if count else f"[{number}] {step.out}")
        tell(step.work(), progress)
        record(step.out)


def plan(recipe: Recipe, out: Path, base: Path | None, progress: Progress) -> Iterator[Step]:
    """The stages in order; each is a no-op when its directory is up to date.

    With a budget, whether a student is tried depends on what the steps before have found.
    """
    recipe = ladder(recipe, out)
    rungs = recipe.students
    data = out / "data"
    yield Step(
        "data",
        lambda: prepare(recipe.task, recipe.data, data, base, seed=recipe.seed, progress=progress),
        (),
        {"task": recipe.task.model_dump(), "data": recipe.data.model_dump()},
    )
    if isinstance(recipe.teacher, TeacherConfig):
        yield from _teacher_steps(recipe.teacher, recipe, out, progress)
    else:
        yield from _answer_steps(recipe.teacher, recipe, out, base, progress)
    if recipe.annotated:
        yield Step(
            "annotated",
            lambda: annotate(out / "labels", data, out / "annotated", recipe.annotated, progress=progress),
            ("labels",),
            {"formats": recipe.annotated},
        )
    known = known_data(recipe, out)
    if known != data:
        answer = partial(pseudo_label, out / "labels", data, known, progress=progress)
        yield Step(known.name, answer, ("labels",))
    finals, refused = ["labels", known.name], list[str]()
    if isinstance(recipe.teacher, TeacherConfig):
        finals.append("teacher-fp32")
        for step in _file_steps("teacher", recipe.teacher.variants, recipe, out, refused, progress):
            finals.append(step.out)
            yield step
    tried = yield from _climb(recipe, out, finals, refused, progress)
    recipe = recipe.model_copy(update={"students": tried})
    for twin, home, again in twin_homes(recipe):
        for step in _twin_steps(twin, home, again, out, progress):
            finals.append(step.out)
            yield step
    measure = partial(_measure, recipe, out, rungs, refused, progress)
    yield Step("benchmark", measure, tuple(finals), recipe.benchmark.model_dump())
    yield Step("model cards", lambda: write_cards(out), ("benchmark",))
    yield Step("report", lambda: report(out / "benchmark", out / "report", progress=progress), ("benchmark",))


def _teacher_steps(teacher: TeacherConfig, recipe: Recipe, out: Path, progress: Progress) -> Iterator[Step]:
    from .training import export, label, train

    seed, data, home, onnx = recipe.seed, out / "data", out / "teacher", out / "teacher-fp32"

    def learn() -> Artifact:
        if not (home / MANIFEST).exists():
            check_layers(recipe)
        return train(data, home, teacher, seed=seed, progress=progress)

    yield Step("teacher", learn, ("data",), teacher.model_dump())
    yield Step(
        "labels",
        lambda: label(home, data, out / "labels", recipe.labelling, progress=progress),
        ("teacher",),
        recipe.labelling.decisive,
    )
    yield Step(
        "teacher-fp32",
        lambda: export(home, data, onnx, recipe.export, seed=seed, progress=progress),
        ("teacher",),
        recipe.export.model_dump(),
    )


def _answer_steps(
    teacher: OtherTeacher, recipe: Recipe, out: Path, base: Path | None, progress: Progress
) -> Iterator[Step]:
    home, data = out / "teacher", out / "data"
    yield Step(
        "teacher",
        lambda: appoint(data, home, teacher, base, progress=progress),
        ("data",),
        teacher.model_dump(),
        outside(teacher, base, task_of(recipe.task)),
    )
    yield Step(
        "labels",
        lambda: label_with_answers(home, data, out / "labels", recipe.label, progress=progress),
        ("teacher",),
        recipe.label.decisive,
    )


def known_data(recipe: Recipe, out: Path) -> Path:
    """The data that all stages after the labels read: where train has no gold labels, that with the teacher's."""
    return out / ("data" if recipe.data.train_labels else "pseudo-labels")


def _climb(
    recipe: Recipe, out: Path, finals: list[str], refused: list[str], progress: Progress
) -> Generator[Step, None, list[StudentConfig]]:
    """The steps of each student, added to `finals`; with a budget up to the first that fits. Returns the students."""
    tried = []
    for student in recipe.students:
        needs = ["labels", known_data(recipe, out).name]
        for step in _student_steps(student, recipe, out, refused, progress):
            needs.append(step.out)
            yield step
        finals += needs[2:]
        tried.append(student)
        if recipe.budget:
            attempt = partial(try_out, student, recipe, out, known_data(recipe, out), progress)
            yield Step(place_of_try(student), attempt, tuple(needs), settings_of_try(student, recipe))
            if fits(student, recipe, out):
                break
    return tried


def _student_steps(
    student: StudentConfig, recipe: Recipe, out: Path, refused: list[str], progress: Progress
) -> Iterator[Step]:
    for below, again in seeded(recipe):
        yield from _seed_steps(student, student.name + below, again, out, refused, progress)


def _seed_steps(
    student: StudentConfig, model: str, recipe: Recipe, out: Path, refused: list[str], progress: Progress
) -> Iterator[Step]:
    from .training import distill, export

    seed, data = recipe.seed, known_data(recipe, out)
    name = f"students/{model}"
    home = out / name
    yield Step(
        f"{name}/torch",
        lambda: distill(out / "teacher", out / "labels", data, home / "torch", student, seed=seed, progress=progress),
        ("labels", data.name),
        student.model_dump(),
    )
    yield Step(
        f"{name}/fp32",
        lambda: export(home / "torch", data, home / "fp32", recipe.export, seed=seed, progress=progress),
        (f"{name}/torch",),
        recipe.export.model_dump(),
    )
    yield from _file_steps(model, variants_of(student, recipe), recipe, out, refused, progress)


def _file_steps(
    model: str, made: Sequence[Variant], recipe: Recipe, out: Path, refused: list[str], progress: Progress
) -> Iterator[Step]:
    """The files of a trained model beside ONNX FP32, and the calibration of each one that is measured."""
    data = known_data(recipe, out)
    # A teacher's own answers, in the place of gold labels, would say nothing about how sure it should be.
    calibrates = model != "teacher" or recipe.data.train_labels or recipe.data.val
    for variant in made:
        file = variants.place(model, variant)
        if variant != "fp32":
            work, source, settings = variants.maker(out, model, variant, recipe, data, refused, progress)
            yield Step(file, work, (source, data.name), settings.model_dump())
        if calibrates:
            yield _calibrated((file, data.name), out / file, recipe, data, progress)


def _calibrated(needs: tuple[str, ...], model: Path, recipe: Recipe, data: Path, progress: Progress) -> Step:
    def work() -> None:
        if model.exists():
            calibrate(model, data, recipe.calibrate, progress=progress)

    goal = recipe.calibrate.model_dump() if recipe.task.kind == "multi" else {}
    return Step(f"{needs[0]} calibrated", work, needs, goal)


def _twin_steps(twin: Twin, name: str, recipe: Recipe, out: Path, progress: Progress) -> Iterator[Step]:
    from .training import distill, export

    seed, data, home = recipe.seed, known_data(recipe, out), out / name

    def learn() -> Artifact:
        return distill(
            out / "teacher", out / "labels", data, home / "torch", twin.settings, seed=seed,
            use_teacher=twin.use_teacher, progress=progress,
        )  # fmt: skip

    yield Step(f"{name}/torch", learn, ("labels",), twin.settings.model_dump())
    yield Step(
        f"{name}/fp32",
        lambda: export(home / "torch", data, home / "fp32", recipe.export, seed=seed, progress=progress),
        (f"{name}/torch",),
        recipe.export.model_dump(),
    )
    yield _calibrated((f"{name}/fp32",), home / "fp32", recipe, data, progress)


def _measure(
    recipe: Recipe, out: Path, rungs: Sequence[StudentConfig], refused: list[str], progress: Progress
) -> Artifact:
    entries, is_model = lineup(recipe, out), isinstance(recipe.teacher, TeacherConfig)
    shown = recipe.model_dump(exclude={"tune", "annotated", "track"})  # they change nothing that is measured
    if others := getattr(recipe.teacher, "variants", [])[1:]:
        shown["teacher"]["variants"] = ["fp32", *others]
    notes: dict[str, Any] = {"recipe": shown, "training": _trainings(recipe, out)}
    notes["refused"] = [*left_out(recipe), *refused]
    notes |= {"budget": outcome(recipe, out, rungs)} if recipe.budget else {}
    labels = Artifact.load(out / "labels")
    facts = labels.measurements
    notes |= {"teacher_confidence": facts["confidence"], "label_mapping": facts.get("label_mapping")}
    notes |= {"remarks": [*labels.warnings, *facts.get("answers", {}).get("said", [])]}
    return benchmark(
        entries, known_data(recipe, out), out / "benchmark", recipe.benchmark, teacher=out / "teacher",
        labels=None if is_model else out / "labels", notes=notes, seed=recipe.seed, progress=progress,
    )  # fmt: skip


def _trainings(recipe: Recipe, out: Path) -> list[dict[str, Any]]:
    """The history and the warnings of every training in the run, and what became of its stages before and after."""
    homes = {"teacher": out / "teacher"} if isinstance(recipe.teacher, TeacherConfig) else {}
    homes |= {student.name: out / "students" / student.name / "torch" for student in recipe.students}
    homes |= {twin.name: out / "controls" / twin.name / "torch" for twin in twins(recipe)}
    trained = {name: Artifact.load(home, "model") for name, home in homes.items()}
    keys = ("history", "best_epoch", "seconds", "gold_stage", "quantized_stage", "mlm")
    return [
        {
            "name": name,
            **{key: made.measurements[key] for key in keys if key in made.measurements},
            "warnings": made.warnings,
        }
        for name, made in trained.items()
        if "history" in made.measurements
    ]
