"""The results as the report needs them: every key there, models in reading order, and who is who among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..answers import Answers, decision_from, model_key
from ..conclusions import shipping_rank
from ..data.task import Kind, Labels
from ..kinds import HARD_LABEL, NO_TEACHER

Results = Mapping[str, Any]
Model = dict[str, Any]
FILES = {
    "torch": "PyTorch", "fp32": "ONNX FP32", "fp16": "ONNX FP16", "int8": "ONNX INT8",
    "int8-dynamic": "ONNX INT8, dynamic", "torchscript": "TorchScript",
    "exported": "torch.export", "torch-fp16": "PyTorch FP16", "sklearn": "scikit-learn",
    "cascade": "cascade of files",
    "none": "no file", "table": "table of probabilities", "function": "Python function", "endpoint": "endpoint",
    "ensemble": "mean of several models",
}  # fmt: skip
METRICS = {
    "accuracy": "accuracy", "macro_f1": "macro-F1", "macro_recall": "macro recall", "micro_f1": "micro-F1",
    "subset_accuracy": "subset accuracy", "weighted_f1": "weighted F1",
}  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """What the pictures show: models as `prepared` makes them, the test split's labels and raw logits.

    `logits` is keyed by model key; `shown` are the keys of the teacher and of the file that ships of each student;
    `val` has labels and logits of the validation split where they were stored.
    """

    models: Sequence[Model]
    training: Sequence[Results]
    names: Sequence[str]
    metric: str
    labels: Labels
    logits: dict[str, NDArray[np.float32]]
    shown: Sequence[str]
    val: tuple[Labels, dict[str, NDArray[np.float32]]] | None = None
    kind: Kind = "single"
    budget: Results | None = None  # as `climbing.outcome` writes it

    def answers(self, model: Model) -> Answers:
        """What a model answers on the test split, as shipped."""
        return Answers(self.logits[model["key"]], decision_from(model, self.kind))

    @property
    def panels(self) -> list[Model]:
        """The models that have a panel of their own: those in `shown` whose logits are known."""
        return [model for model in self.models if model["key"] in self.shown and model["key"] in self.logits]


def prepared(results: Results) -> dict[str, Any]:
    """The results with every optional key there, models in reading order, and what is derived from them.

    Each model gets: key, kind, score (the task metric on test) with value, low, high; p50 and rate (one thread).
    """
    filled = {
        "recipe": {},
        "data": {},
        "training": [],
        "teacher_confidence": {},
        "label_mapping": None,
        "refused": [],
        "remarks": [],
        "comparisons": [],
        "budget": None,
        "machine": {},
        "versions": {},
        "kind": "single",
        **results,
    }
    filled["data"] = _data(filled["data"] or {})
    filled["models"] = _in_order([_derived(model, results["task_metric"]) for model in results["models"]])
    return filled


def _data(data: Results) -> dict[str, dict[str, Any]]:
    """Rows, rows per label, the majority's share, whose labels the teacher gave, texts without one, rows dropped."""
    splits = {name: split for name, split in data.get("splits", {}).items() if "classes" in split}
    dropped = data.get("dropped", {})
    return {
        "rows": {name: split["rows"] for name, split in splits.items()},
        "counts": {name: split["classes"] for name, split in splits.items()},
        "majority": {name: split["majority"]["share"] for name, split in splits.items()},
        "of_the_teacher": data.get("labels_of_the_teacher", {}),
        "unlabeled": data.get("unlabeled", {}),
        "dropped": {f"{name}: {reason}": n for name, reasons in dropped.items() for reason, n in reasons.items()},
    }


def _derived(model: Model, metric: str) -> Model:
    optional = (
        "params",
        "bytes",
        "retention",
        "agreement",
        "peak_rss",
        "load_ms",
        "calibration",
        "path",
        "temperature",
        "validation",
    )
    model = {**dict.fromkeys(optional), "per_class": [], "warnings": [], **model}
    score = (model["metrics"].get("test") or {}).get(metric) or {}
    low, high = score.get("ci95") or (None, None)
    speed = [row for row in model.get("speed") or [] if row["threads"] == 1]
    fastest: Model = max(speed, key=lambda row: row["texts_per_second"] or 0, default={})
    model |= {"speed": model.get("speed") or [], "speedup_vs": model.get("speedup_vs") or {}}
    model |= {"key": model_key(model), "kind": _kind(model)}
    model |= {"score": score, "value": score.get("value"), "low": low, "high": high}
    model |= {"rate": fastest.get("texts_per_second"), "rate_batch": fastest.get("batch")}
    return model | {"p50": next((row["p50"] for row in speed if row["batch"] == 1), None)}


def _kind(model: Model) -> str:
    """What a control is, in a few words; nothing for the others."""
    always = model.get("always")
    constant = "the commonest label" if always is None else f"always {', '.join(always) or 'no label'}"
    known = {"none": constant, "sklearn": "bag of words (TF-IDF)"}
    learnt = {NO_TEACHER: "trained without the teacher", HARD_LABEL: "trained on the teacher's chosen labels"}
    twin = next((said for how, said in learnt.items() if str(model["name"]).endswith(f"-{how}")), "")
    return twin or known.get(model["variant"], "")


def _in_order(models: Sequence[Model]) -> list[Model]:
    """Teacher, students, controls; in each the best first, the variants of one model side by side."""
    best: dict[str, float] = {}
    for model in models:
        best[model["name"]] = max(best.get(model["name"], 0.0), model["value"] or 0.0)
    roles, variants = ["teacher", "student", "control"], list(FILES)
    place = {name: index for index, name in enumerate(variants)}
    return sorted(
        models, key=lambda m: (roles.index(m["role"]), -best[m["name"]], m["name"], place.get(m["variant"], 99))
    )


def metric_name(results: Results) -> str:
    """The task metric, as it is read."""
    name = str(results["task_metric"])
    return METRICS.get(name, name)


def counted(results: Results) -> str:
    """How many texts the figures are of."""
    counts = sorted({model["score"]["n"] for model in results["models"] if model["score"]})
    return "n = " + " or ".join(f"{n:,}" for n in counts) if counts else "not measured"


def teacher_of(results: Results) -> Model | None:
    """The teacher's file that is scored: ONNX FP32, else the first that has a score."""
    scored = [m for m in results["models"] if m["role"] == "teacher" and m["value"] is not None]
    return min(scored, key=lambda model: model["variant"] != "fp32", default=None)


def bag_of_words_of(results: Results) -> Model | None:
    """The control that counts words."""
    return next((model for model in results["models"] if model["variant"] == "sklearn"), None)


def shown(results: Results) -> list[Model]:
    """The teacher, and of each student the file that ships: INT8, or its smallest."""
    students: dict[str, Model] = {}
    for model in (model for model in results["models"] if model["role"] == "student"):
        held = students.get(model["name"])
        if held is None or shipping_rank(model) < shipping_rank(held):
            students[model["name"]] = model
    teacher = teacher_of(results)
    return [teacher, *students.values()] if teacher else list(students.values())


def best_student(results: Results) -> tuple[Model | None, str]:
    """The best of the shown students and the split that it was chosen on.

    By their answers on validation; where those of one are not known, by what every training noted there, else on test.
    """
    students = [m for m in shown(results) if m["role"] == "student" and m["value"] is not None]
    stored = {model["key"]: (model["validation"] or {}).get("value") for model in students}
    for scores in (stored, _when_trained(results, students)):
        if None not in scores.values():
            return max(students, key=lambda m: (scores[m["key"]], -(m["bytes"] or 0)), default=None), "val"
    return max(students, key=lambda model: model["value"], default=None), "test"


def _when_trained(results: Results, students: Sequence[Model]) -> dict[str, float | None]:
    """By model key the task metric on validation in the epoch that the training kept."""
    name = f"val_{results['task_metric']}"
    found = {
        run["name"]: next((row.get(name) for row in run["history"] if row["epoch"] == run["best_epoch"]), None)
        for run in results["training"]
    }
    return {model["key"]: found.get(model["name"]) for model in students}
