"""[budget]: students are tried from the cheapest up, and the first of which a file fits is the last.

DIR/tries/NAME/    what a student's files are worth on validation, how large and how fast they are

A try is an artifact like any other: it holds measurements without limits, so that another budget measures nothing anew.
The test split is not opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import speed
from .answers import Answers, seed_key
from .artifact import Artifact, Plan, finished, writing
from .classifier import decision_of
from .conclusions import by_seed, chosen_seed
from .config import CutStudent, Recipe, StudentConfig, TeacherConfig
from .data.storing import read_split
from .data.task import Split
from .entries import Entry, Lead
from .errors import ArtifactError
from .fitting import Candidate, best, candidate, candidate_from, nearest
from .progress import Progress
from .reporting import try_in_words
from .sizes import Size, student_size
from .soft_labels import read_labels
from .students import seeded, variants_of
from .variants import place


def ladder(recipe: Recipe, out: Path) -> Recipe:
    """The recipe with its students from the cheapest to run to the dearest; one without a budget as it is.

    Of the proposed cuts those stay that leave out a layer of the teacher.
    """
    if recipe.budget is None:
        return recipe
    students, teacher = recipe.students, Size(0, 0)
    if isinstance(recipe.teacher, TeacherConfig):
        from .training.networks import describe_pretrained, layers_and_width

        source = _source(recipe.teacher, out / "teacher")
        teacher = Size(*describe_pretrained(source))
        if recipe.proposed:
            total = layers_and_width(source)[0]
            students = [one for one in students if not isinstance(one, CutStudent) or _count(one) < total]
    students = sorted(students, key=lambda student: student_size(student, teacher).per_token)
    return recipe.model_copy(update={"students": students})


def _source(teacher: TeacherConfig, home: Path) -> str:
    """Where the config of a teacher is: in the run if it is made, so that a finished run needs nothing else."""
    try:
        made = Artifact.load(home, "model")
    except ArtifactError:
        return teacher.source
    return str(home) if made.config.get("model") == teacher.model else teacher.source


def _count(student: CutStudent) -> int:
    return student.layers if isinstance(student.layers, int) else max(student.layers) + 1


def place_of_try(student: StudentConfig) -> str:
    """Where a student's try is in the directory of a run."""
    return f"tries/{student.name}"


def settings_of_try(student: StudentConfig, recipe: Recipe) -> dict[str, Any]:
    """What a try depends on beside the files and the data."""
    timed = recipe.benchmark.model_dump(include={"speed_texts", "repeats", "bootstrap", "provider"})
    seeds = {"seeds": recipe.seeds} if recipe.seeds > 1 else {}
    return {"student": student.model_dump(), "variants": variants_of(student, recipe), **timed, **seeds}


def try_out(student: StudentConfig, recipe: Recipe, out: Path, data: Path, progress: Progress) -> Artifact:
    """Measure the files of a student on validation: the task metric, what it is of the teacher's, size and speed.

    Of several seeds, the file that validation chooses, which is the one to ship.
    """
    entries = [
        Entry(student.name, "student", home, seed=again.seed if below else None)
        for below, again in seeded(recipe)
        for variant in variants_of(student, recipe)
        if (home := out / place(student.name + below, variant)).exists()  # others were refused
    ]
    source, labels = Artifact.load(data, "data"), Artifact.load(out / "labels", "labels")
    inputs = {entry.key: f"{entry.artifact.digest}:{decision_of(entry.artifact)}" for entry in entries}
    inputs |= {"data": source.digest, "labels": labels.digest}
    plan = Plan("try", settings_of_try(student, recipe), inputs, recipe.seed)
    home = out / place_of_try(student)
    made = finished(home, plan, progress) or _try(home, plan, entries, data, recipe, progress)
    for file in _files(made):
        progress.note(f"  {try_in_words(file.to_dict(recipe.budget))}")
    return made


def _try(home: Path, plan: Plan, entries: Sequence[Entry], data: Path, recipe: Recipe, progress: Progress) -> Artifact:
    out, val = home.parent.parent, read_split(data / "val.parquet", "val")
    with writing(home, plan, "try") as draft:
        draft.task = Artifact.load(data, "data").task
        found = _measured(entries, val, _teacher(out, val, recipe), recipe, progress)
        draft.measurements = {"n": len(val), "files": [candidate.to_dict() for candidate in found]}
    return Artifact.load(home)


def _measured(
    entries: Sequence[Entry], val: Split, teacher: Answers, recipe: Recipe, progress: Progress
) -> list[Candidate]:
    config = recipe.benchmark
    drawn = (recipe.task.metric, config.bootstrap, recipe.seed)
    rows = np.random.default_rng(0).permutation(len(val))[: config.speed_texts]
    texts = [val.texts[row] for row in rows]
    with progress.track("measure on validation", len(entries) + len(speed.BATCHES)) as advance:
        answers = {}
        for entry in entries:
            logits = speed.logits_of(entry.artifact, val.texts, config.provider)
            answers[entry.key] = Answers(logits, decision_of(entry.artifact))
            advance(1)
        ships = _ships(entries, answers, val, recipe)
        runners = [speed.artifact_runner(entry.artifact, config.provider) for entry in ships.values()]
        speeds = speed.measure(runners, texts, [1], config.repeats, advance)
    return [
        candidate(
            key, answers[entry.key], teacher, val.labels, entry.artifact.bytes_of(*entry.artifact.files), timed.rows,
            drawn,
        )
        for (key, entry), timed in zip(ships.items(), speeds, strict=True)
    ]  # fmt: skip


def _ships(entries: Sequence[Entry], answers: Mapping[str, Answers], val: Split, recipe: Recipe) -> dict[str, Entry]:
    """By name/variant the file of the seed that validation chooses, as the benchmark will."""
    files = {entry.key: entry for entry in entries}
    found = {}
    for key in (entry.key for entry in entries if entry.seed is None):
        seed, _ = chosen_seed(by_seed(key, answers, recipe.seed), val.labels, recipe.task.metric)
        found[key] = files.get(seed_key(key, seed), files[key])
    return found


def _teacher(out: Path, val: Split, recipe: Recipe) -> Answers:
    """The teacher's answers on validation: its soft labels, decided as the file of it is that would ship."""
    lead = Lead.of(out / "teacher", out / "labels")
    aim = (recipe.calibrate.threshold_for, recipe.calibrate.threshold_target)
    decision = lead.decision(val, *aim) if lead else decision_of(Artifact.load(out / "teacher-fp32", "model"))
    return Answers(read_labels(out / "labels", "val", val.ids), decision)


def fits(student: StudentConfig, recipe: Recipe, out: Path) -> bool:
    """Whether the student has been tried as it is and a file of it fits the budget."""
    assert recipe.budget is not None
    try:
        made = Artifact.load(out / place_of_try(student), "try")
    except ArtifactError:
        return False
    tried = made.config == json.loads(json.dumps(settings_of_try(student, recipe)))
    return tried and best(_files(made), recipe.budget) is not None


def outcome(recipe: Recipe, out: Path, ladder: Sequence[StudentConfig]) -> dict[str, Any]:
    """What the tries of a recipe's students showed, for results.json; the rest of `ladder` was not tried."""
    assert recipe.budget is not None
    budget = recipe.budget
    made = {student.name: Artifact.load(out / place_of_try(student), "try") for student in recipe.students}
    files = [file for one in made.values() for file in _files(one)]
    chosen = best(files, budget)
    counts = [one.measurements["n"] for one in made.values()]
    return {
        "limits": budget.given, "percentile": budget.percentile, "n": counts[0],
        "tried": list(made), "not_tried": [student.name for student in ladder if student.name not in made],
        "files": [file.to_dict(budget) for file in files], "met": chosen and chosen.key,
        "nearest": [] if chosen else [file.key for file in nearest(files, budget)],
    }  # fmt: skip


def _files(made: Artifact) -> list[Candidate]:
    return [candidate_from(row) for row in made.measurements["files"]]
