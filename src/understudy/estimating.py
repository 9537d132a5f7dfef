"""--dry-run: what a run would do, how long it would take here, how much disk, how many teacher calls.

Time is arithmetic divided by this machine's measured matrix-product rate. It is right within a factor of two: enough to
choose between waiting and renting a GPU.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .answering import MAX_LENGTH, Bill, expected_bill
from .artifact import Artifact
from .claiming import refuse_another_task
from .climbing import ladder
from .config import (
    Recipe,
    StudentConfig,
    TeacherConfig,
)
from .data.preparing import Prepared, prepare
from .distill_settings import Pruning
from .errors import ArtifactError
from .layer_checks import check_layers
from .pipeline import Step, plan
from .preparation import digests, origin_lines, task_of
from .progress import Silent
from .sizes import Size, student_size, teacher_size
from .students import seeded, twins, variants_of
from .teachers import EndpointTeacher, TableTeacher

_PIECES_PER_WORD = 1.35  # English WordPiece, with punctuation
_BYTES_PER_WORD = 6  # English, with the space behind it
_UTILIZATION = 0.5  # of the measured rate that a training reaches: norms, softmax and the optimiser take the rest
_OVERHEAD = {
    "fp32": 6.0,
    "int8": 6.0,
    "int8-dynamic": 6.0,
    "benchmark": 40.0,
    "report": 10.0,
}  # seconds, whatever the size of the model
_BYTES = {  # per parameter
    "fp32": 4, "fp16": 2, "int8": 1, "int8-dynamic": 1, "torchscript": 4, "exported": 4, "torch-fp16": 2
}  # fmt: skip


@dataclass(frozen=True)
class Forecast:
    """What a run would still take; `disk_bytes` is the size of the whole run when it is done."""

    steps: list[tuple[str, bool]]  # directory or work, whether it is there already
    seconds: float
    disk_bytes: int
    teacher_calls: int
    rows: dict[str, int]
    unlabeled: list[str]  # a line for each origin of unlabelled texts
    bill: Bill | None = None  # of an endpoint
    ladder: list[str] = field(default_factory=list)  # the students of a budget, cheapest first

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """For a person."""
        lines = [f"{'there' if done else 'to do':<6} {name}" for name, done in self.steps]
        rows = ", ".join(f"{name} {count}" for name, count in self.rows.items())
        lines += [
            f"rows: {rows}",
            *self.unlabeled,
            f"teacher calls: {self.teacher_calls}" if self.bill is None else f"teacher: about {self.bill}",
            f"time: about {_duration(self.seconds)} on this machine"
            + (", without the time that the endpoint takes" if self.bill and self.bill.calls else ""),
            f"disk: about {self.disk_bytes / 1e6:.0f} MB in all",
        ]
        if self.ladder:
            lines.append(
                f"budget: {', '.join(self.ladder)} are tried in this order until one fits; time and disk: of all"
            )
        return "\n".join(lines)


def estimate(recipe: Recipe, out: Path, base: Path | None) -> Forecast:
    """Read and check the data, then forecast; writes nothing. Raises RecipeError for a directory of another task."""
    refuse_another_task(out, recipe)
    recipe = ladder(recipe, out)
    task = task_of(recipe.task)
    prepared = prepare(task, recipe.data, recipe.seed, base)
    check_layers(recipe)
    rows = {
        "train": len(prepared.train), "val": len(prepared.val), "test": len(prepared.test),
        "unlabeled": len(prepared.unlabeled),
    }  # fmt: skip
    words, unlabeled_words = (prepared.counts["splits"][name]["mean_words"] for name in ("train", "unlabeled"))
    longest = recipe.teacher.max_length if isinstance(recipe.teacher, TeacherConfig) else MAX_LENGTH
    length, unlabeled_length = (min(longest, mean * _PIECES_PER_WORD + 2) for mean in (words, unlabeled_words))
    teacher = teacher_size(recipe)
    students = {student.name: student_size(student, teacher) for student in recipe.students}
    steps = list(plan(recipe, out, base, Silent()))
    standing = _standing(steps, out, digests(recipe.data, base), recipe.seed)
    to_do = [step.out for step in steps if not standing[step.out]]
    # Sentences of reviews may be twice as long as the labelled phrases: counted as so many more of these.
    alike = rows | {"unlabeled": rows["unlabeled"] * unlabeled_length / length}
    work = _work(recipe, alike, teacher, students)
    seconds = sum(work.get(name, 0.0) for name in to_do) * length / (_products_per_second() * _UTILIZATION)
    overhead = sum(_OVERHEAD.get(name.rpartition("/")[2], 0.0) for name in to_do)
    asked = _asked(recipe, prepared, to_do)
    bill = None
    if isinstance(recipe.teacher, EndpointTeacher):
        bill = expected_bill(recipe.teacher, task.labels, asked, out / "teacher")
    calls = bill.calls if bill else len(asked)
    disk = _disk(recipe, teacher, students) + int((rows["train"] + rows["unlabeled"]) * _stored_bytes(recipe, length))
    disk += int(rows["test"] * _predicted_bytes(recipe, words))
    rungs = [student.name for student in recipe.students] if recipe.budget else []
    origins = origin_lines(prepared.counts)
    return Forecast(list(standing.items()), seconds + overhead, disk, calls, rows, origins, bill, rungs)


def _asked(recipe: Recipe, prepared: Prepared, to_do: Sequence[str]) -> list[str]:
    """The texts that the teacher will be asked for; a table is not asked, and a model's test is in its ONNX file."""
    if isinstance(recipe.teacher, TableTeacher):
        return []
    splits = [prepared.train, prepared.val, prepared.unlabeled] if "labels" in to_do else []
    if "benchmark" in to_do and getattr(recipe.teacher, "test", False):
        splits.append(prepared.test)
    return [text for split in splits for text in split.texts]


def _standing(steps: Sequence[Step], out: Path, files: Mapping[str, str], seed: int) -> dict[str, bool]:
    """Whether each step's result is there and would be kept: its settings are the same, and so is all it needs."""
    standing: dict[str, bool] = {}
    for step in steps:
        standing[step.out] = all(standing.get(name, True) for name in step.needs) and _kept(step, out)
    if standing["data"]:
        data = Artifact.load(out / "data")
        if (data.inputs, data.seed) != (files, seed):
            return dict.fromkeys(standing, False)
    return standing


def _kept(step: Step, out: Path) -> bool:
    path = out / step.out.removesuffix(" calibrated")
    if step.out == "model cards":
        return True  # written with the benchmark, in no time
    try:
        artifact = Artifact.load(path)
    except ArtifactError:
        return False
    if step.out.endswith(" calibrated"):
        made = artifact.measurements.get("calibration")
        return made is not None and made.get("goal", {}) == step.settings
    same = artifact.config == json.loads(json.dumps(dict(step.settings)))
    return same and step.inputs.items() <= artifact.inputs.items()


def _work(recipe: Recipe, rows: Mapping[str, float], teacher: Size, students: Mapping[str, Size]) -> dict[str, float]:
    """Products per token of length, by step; a training step is three forward passes."""
    transfer, timed = rows["train"] + rows["unlabeled"], recipe.benchmark.speed_texts * recipe.benchmark.repeats * 8
    work, measured = {}, (rows["val"] + rows["test"] + 2 * timed) * teacher.per_token
    if isinstance(recipe.teacher, TeacherConfig):
        epochs, folds = recipe.teacher.epochs, recipe.label.folds
        in_folds = (3 * (folds - 1) * rows["train"] + folds * rows["val"]) * epochs if folds else 0
        work = {
            "teacher": (3 * (rows["train"] * epochs + transfer * recipe.teacher.mlm_epochs) + rows["val"] * epochs)
            * teacher.per_token
            * recipe.teacher.train,
            "labels": (transfer + rows["val"] + in_folds) * teacher.per_token,
            "teacher-fp32 calibrated": rows["val"] * teacher.per_token,
        }
        others = recipe.teacher.variants[1:]
        work |= {f"teacher-{variant}": 3 * rows["val"] * teacher.per_token for variant in others}
        measured += (rows["val"] + rows["test"] + timed) * len(others) * teacher.per_token
    tries: dict[str, float] = {}
    for student in recipe.students:
        size, home, files = students[student.name], f"students/{student.name}", variants_of(student, recipe)
        work[f"{home}/torch"] = (3 * transfer + rows["val"]) * _passes(student) * size.per_token
        work |= {f"{home}/{variant}": 3 * rows["val"] * size.per_token for variant in files}
        measured += ((rows["val"] + rows["test"]) * recipe.seeds + timed) * len(files) * size.per_token
        tries[f"tries/{student.name}"] = (rows["val"] * recipe.seeds + timed) * len(files) * size.per_token
    for twin in twins(recipe):
        work[f"controls/{twin.name}/torch"] = work[f"students/{twin.student.name}/torch"]
    for name, products in [*work.items()]:
        home, _, file = name.rpartition("/")
        work |= {f"{home}{below}/{file}": products for below, _ in seeded(recipe) if home}
    return work | tries | {"benchmark": measured}


def _passes(student: StudentConfig) -> int:
    """Epochs of a student, those after pruning, on gold labels and with INT8 simulated included."""
    recovery = student.recovery_epochs if isinstance(student, Pruning) and student.shares else 0
    return student.epochs + recovery + student.gold_epochs + student.quant_epochs


def _disk(recipe: Recipe, teacher: Size, students: Mapping[str, Size]) -> int:
    """Bytes: the teacher and each student in torch and ONNX, their other variants, and the twins in torch and ONNX."""
    disk = sum(_per_parameter(variants_of(s, recipe)) * students[s.name].parameters for s in recipe.students)
    disk += sum(8 * students[twin.student.name].parameters for twin in twins(recipe))
    return int(disk * recipe.seeds + _per_parameter(getattr(recipe.teacher, "variants", [])) * teacher.parameters)


def _per_parameter(variants: Sequence[str]) -> int:
    """Bytes of a model for each parameter, in torch, ONNX FP32 and the given files."""
    return 4 + sum(_BYTES[variant] for variant in {"fp32", *variants})


def _stored_bytes(recipe: Recipe, length: float) -> float:
    """Bytes of the teacher's layers for one text, two for a number; they hardly shrink when compressed."""
    from .training.networks import layers_and_width

    wanted = recipe.labelling
    if not (wanted.hidden_states or wanted.attention) or not isinstance(recipe.teacher, TeacherConfig):
        return 0.0
    layers, width = layers_and_width(recipe.teacher.source)
    return 2.0 * layers * (width * wanted.hidden_states + length * wanted.attention)


def _predicted_bytes(recipe: Recipe, words: float) -> float:
    """Bytes of one test text in the tables of predictions: one for every file of a model, and two controls."""
    if not recipe.benchmark.predictions:
        return 0.0
    of_teacher = len(recipe.teacher.variants) if isinstance(recipe.teacher, TeacherConfig) else 1
    tables = 2 + of_teacher + sum(len(variants_of(s, recipe)) for s in recipe.students) + len(twins(recipe))
    return tables * (_BYTES_PER_WORD * words + 9 * len(recipe.task.labels) + 30)  # 0.123456; id, names


def _products_per_second() -> float:
    """Multiply-adds per second of a matrix product of a batch's shape, the best of a few."""
    left, right = np.ones((768, 384), np.float32), np.ones((384, 1536), np.float32)
    return left.shape[0] * right.size / min(_seconds(lambda: left @ right) for _ in range(20))


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
