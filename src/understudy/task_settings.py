"""[task] and [calibrate]: what is decided, how it is judged, and how decisions are taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from .kinds import METRICS, SEPARATOR, Kind, Metric, check_metric
from .sections import NAME, UNWRITABLE, Section
from .soft_terms import ONE_LABEL


class TaskConfig(Section):
    """What is to be decided."""

    name: str = Field(pattern=NAME, description="name of the task; that of the recipe's file if it is left out")
    kind: Kind = Field("single", description="single: one label per text; multi: any number of labels, none included")
    labels: list[str] = Field(min_length=2, description="label names, in the order of the model's outputs")
    metric: Metric = Field(
        "accuracy", description="the task metric, which retention is a ratio of; micro_f1 by default where kind = multi"
    )

    @model_validator(mode="before")
    @classmethod
    def _default_metric(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and raw.get("kind") == "multi" and "metric" not in raw:
            return {**raw, "metric": METRICS["multi"][0]}
        return raw

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: list[str]) -> list[str]:
        if len(set(labels)) != len(labels) or not all(label.strip() for label in labels):
            raise ValueError("label names must be distinct and not empty")
        return labels

    @model_validator(mode="after")
    def _of_the_kind(self) -> Self:
        check_metric(self.kind, "metric", self.metric)
        parted = [label for label in self.labels if SEPARATOR in label] if self.kind == "multi" else []
        if parted:
            raise ValueError(
                f"labels: {parted[0]!r} holds {SEPARATOR!r}, which stands between the labels of a text: rename it"
            )
        return self


class CalibrateConfig(Section):
    """How the labels of a multi-label task are decided; a single-label one needs nothing but its temperature."""

    threshold_for: Literal["f1", "precision", "recall"] = Field(
        "f1", description="multi: what each label's threshold gets on validation: the best F1, the best recall at a "
        "precision of threshold_target, or the best precision at a recall of threshold_target",
    )  # fmt: skip
    threshold_target: float = Field(
        0.9, gt=0, le=1, description="multi: the precision or recall that each label must reach on validation"
    )

    @model_validator(mode="after")
    def _target(self) -> Self:
        if self.threshold_for == "f1" and "threshold_target" in self.model_fields_set:
            raise ValueError("threshold_target is for threshold_for = precision or recall; F1 is as high as it gets")
        return self


def check_single(kind: Kind, section: Section, of_multi: tuple[str, ...]) -> None:
    """Raise ValueError for settings that only a multi-label task reads, in another."""
    given = [name for name in of_multi if name in section.model_fields_set]
    if kind == "single" and given:
        raise ValueError(f"{', '.join(given)}: for a task of kind multi; this one has one label per text: remove it")


def check_labels(kind: Kind, label: str, data: Section) -> None:
    """Raise ValueError for a way of giving labels that is not for a task of this kind; `label`: their column."""
    check_single(kind, data, ("label_separator",))
    if kind == "single" and not label:
        raise ValueError("label names no column; a column for each label is for a task of kind multi")
    if not label and "label_separator" in data.model_fields_set:
        raise ValueError("label_separator is for labels in one column, and `label` is empty: remove one")


def check_variants(recipe: Any) -> None:
    """Raise ValueError for files of which a recipe would have two alike, or none of a student."""
    of_teacher = getattr(recipe.teacher, "variants", [])
    if recipe.quantize.method == "dynamic" and any(
        {"int8", "int8-dynamic"} <= {*v} for v in (recipe.variants, of_teacher)
    ):
        raise ValueError("variants: int8 is dynamic already, by quantize.method: remove int8-dynamic")
    for student in recipe.students:
        reasons = [UNWRITABLE.get((student.kind, variant)) for variant in recipe.variants]
        if all(reasons):
            raise ValueError(f"variants leave no file of {student.name}: {reasons[0]}; add another variant")
        if student.quant_epochs and (vain := _not_simulated(recipe)):
            raise ValueError(f"student {student.name}: quant_epochs simulate static INT8, tables included, and {vain}")


def _not_simulated(recipe: Any) -> str:
    """What makes the INT8 files of a recipe others than those that quant_epochs simulate; empty if nothing does."""
    if "int8" not in recipe.variants:
        return "variants have no int8: add it, or remove quant_epochs"
    if recipe.quantize.method == "dynamic":
        return "quantize.method is dynamic: remove one of them"
    return "" if recipe.quantize.embeddings else "quantize.embeddings is false: remove one of them"


def check_kind(recipe: Any, of_one: str) -> None:
    """Raise ValueError for settings of a recipe that are not for the kind of its task.

    `of_one` is what its teacher has that is for one label per text.
    """
    kind: Kind = recipe.task.kind
    trained = {s.name: s for s in recipe.students}
    if recipe.teacher.kind == "model":
        trained["teacher"] = recipe.teacher
    for key, section in trained.items():
        check_metric(kind, f"{key}: stop_metric", section.stop_metric, ("nll",))
    check_metric(kind, "tune.objective", recipe.tune.objective, ("nll",))
    check_single(kind, recipe.calibrate, tuple(CalibrateConfig.model_fields))
    check_labels(kind, recipe.data.label, recipe.data)
    if kind == "single":
        return
    if any(student.loss == "dkd" for student in recipe.students):
        raise ValueError(ONE_LABEL)
    if of_one:
        raise ValueError(f"{of_one}: for a task of kind single; this one has several labels per text: remove it")
