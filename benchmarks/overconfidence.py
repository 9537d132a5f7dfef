"""Does a well-calibrated teacher teach better than an over-confident one? Students of four teachers, five seeds.

    python benchmarks/overconfidence.py DIR runs/overconfidence benchmarks/results/overconfidence

DIR holds the emotion files. The teachers: one fine-tuned MiniLM after its first epoch (early) and after its last
(late), the late one with its logits over the temperature that validation fits (scaled), and one trained with label
smoothing (smoothed). All have as many steps but the early one. The student, a small TextCNN, learns from the soft
labels alone, at each of a few temperatures: the same one for all teachers, or for each the one that is best on
validation. Test logits are made once, by `benchmark`, after everything is trained; the result files are made of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from understudy.artifact import Artifact, Plan, finished, writing
from understudy.benchmarking import Entry, benchmark
from understudy.calibration import calibrate
from understudy.config import BenchmarkConfig, ExportConfig, LabelConfig, TeacherConfig, TextCNNStudent, load_recipe
from understudy.data.storing import read_split
from understudy.display import terminal_progress
from understudy.preparation import prepare
from understudy.soft_labels import read_labels
from understudy.training import distill, export, label, train

ROWS, EPOCHS, SMOOTHING = 8000, 5, 0.1
TEMPERATURES = (1.0, 2.0, 4.0)
SEEDS = (13, 14, 15, 16, 17)
TEACHERS = ("early", "late", "scaled", "smoothed")
PROGRESS = terminal_progress()


@dataclass(frozen=True)
class Lesson:
    """A student to train: of which teacher, at which temperature; no teacher: on gold labels."""

    teacher: str | None
    temperature: float
    seed: int

    @property
    def name(self) -> str:
        """Its directory."""
        return f"{self.teacher}-{self.temperature:g}-{self.seed}" if self.teacher else f"gold-{self.seed}"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="directory of the emotion files")
    parser.add_argument("run", type=Path, help="where the models go")
    parser.add_argument("result", type=Path, help="directory of the result files")
    arguments = parser.parse_args()
    run, data = arguments.run, arguments.run / "data"
    recipe = load_recipe(Path(__file__).parents[1] / "recipes" / "emotion.toml")
    limited = recipe.data.model_copy(update={"limit": ROWS})
    prepare(recipe.task, limited, data, arguments.source, seed=recipe.seed, progress=PROGRESS)
    labels = teach_teachers(run, data)
    entries = []
    for lesson in lessons():
        teacher, soft = labels[lesson.teacher or "late"]
        home = run / "students" / lesson.name
        distill(
            teacher, soft, data, home / "torch", student(lesson), seed=lesson.seed,
            use_teacher=lesson.teacher is not None, progress=PROGRESS,
        )  # fmt: skip
        export(home / "torch", data, home / "fp32", ExportConfig(samples=20), seed=lesson.seed, progress=PROGRESS)
        calibrate(home / "fp32", data, progress=PROGRESS)
        entries.append(Entry(lesson.name, "student", home / "fp32", timed=False))
    config = BenchmarkConfig(bootstrap=100, pipeline=False, repeats=1, speed_texts=8)
    benchmark(entries, data, run / "benchmark", config, teacher=None, notes={}, progress=PROGRESS)
    write(run, data, arguments.result)


def lessons() -> Iterator[Lesson]:
    """All students, seed by seed, so that an interrupted run has whole seeds."""
    for seed in SEEDS:
        yield Lesson(None, 1.0, seed)
        for temperature in TEMPERATURES:
            for teacher in TEACHERS:
                yield Lesson(teacher, temperature, seed)


def student(lesson: Lesson) -> TextCNNStudent:
    """A small student. Without clipping, AdamW does not see the scale T² of the loss."""
    return TextCNNStudent(
        name="small", width=64, filters=32, dropout=0.3, epochs=12, batch_size=32, learning_rate=4e-3, clip=0.0,
        soft_weight=1.0 if lesson.teacher else 0.0, temperature=lesson.temperature,
    )  # fmt: skip


def teach_teachers(run: Path, data: Path) -> dict[str, tuple[Path, Path]]:
    """Teacher and soft labels by name; but for `scaled`, the labels are as sure as the teacher."""
    config = TeacherConfig(epochs=EPOCHS, learning_rate=1e-4, schedule="constant", max_length=64, keep_epochs=True)
    plain, smoothed = run / "teachers" / "plain", run / "teachers" / "smoothed"
    train(data, plain, config, progress=PROGRESS)
    train(data, smoothed, config.model_copy(update={"label_smoothing": SMOOTHING}), progress=PROGRESS)
    last = str(EPOCHS)
    teachers = {"early": plain / "epochs/1", "late": plain / "epochs" / last, "smoothed": smoothed / "epochs" / last}
    labels = {}
    for name, teacher in teachers.items():
        fitted = run / "labels" / f"{name}-fitted"
        label(teacher, data, fitted, LabelConfig(), progress=PROGRESS)
        labels[name] = teacher, unscaled(fitted, run / "labels" / name)
    return labels | {"scaled": (teachers["late"], run / "labels" / "late-fitted")}


def unscaled(labels: Path, out: Path) -> Path:
    """The same soft labels with a calibration temperature of 1."""
    source = Artifact.load(labels, "labels")
    plan = Plan("label", {"temperature": 1.0}, dict(source.inputs))
    if finished(out, plan, PROGRESS) is None:
        with writing(out, plan, "labels") as draft:
            for shard in labels.glob("*.parquet"):
                shutil.copy(shard, draft.path)
            draft.task, draft.text, draft.details = source.task, source.text, source.details
            draft.decision, draft.measurements = {"temperature": 1.0}, source.measurements
    return out


def write(run: Path, data: Path, result: Path) -> None:
    """The small files that the table is made of; no text."""
    result.mkdir(parents=True, exist_ok=True)
    val, answered = read_split(data / "val.parquet", "val"), {}
    for name in TEACHERS:
        labels = Artifact.load(run / "labels" / ("late-fitted" if name == "scaled" else name), "labels")
        answered[name] = read_labels(labels.path, "val", val.ids) / labels.temperature
    np.savez_compressed(result / "teachers.npz", labels=val.labels, **answered)
    truth = np.load(run / "benchmark" / "labels.npz")
    students, correct = [], {}
    for lesson in lessons():
        answers = np.load(run / "benchmark" / "logits" / f"{lesson.name}-fp32.npz")
        assert list(answers["ids"]) == list(truth["ids"])
        correct[lesson.name] = answers["logits"].argmax(axis=1) == truth["labels"]
        calibration = Artifact.load(run / "students" / lesson.name / "fp32").measurements["calibration"]
        students.append({**asdict(lesson), "name": lesson.name, "val_nll": calibration["after"]["nll"]})
    np.savez_compressed(result / "correct.npz", **correct)
    content = {"rows": ROWS, "epochs": EPOCHS, "smoothing": SMOOTHING, "students": students}
    (result / "results.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
