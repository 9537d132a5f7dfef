"""[tune]: which settings of a student are searched, over which values, and how. Nothing here imports Optuna."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from .explaining import nearest, worded
from .sections import Section
from .soft_terms import inherited, unread

_FIXED = ("name", "kind")  # they say which student is searched
STUDENT_ALONE = (
    "a trial changes the student alone: data, teacher and soft labels are made once, before all trials, and files are "
    "made and measured after them; give keys of the student"
)


class Range(Section):
    """The values that one key may take."""

    low: float | None = Field(None, description="smallest value")
    high: float | None = Field(None, description="largest value")
    log: bool = Field(False, description="search the logarithm")
    choices: list[Any] = Field([], description="the values one by one, instead of low and high")

    @model_validator(mode="after")
    def _interval_or_choices(self) -> Self:
        if self.choices:
            if self.model_fields_set != {"choices"}:
                raise ValueError("give either choices or low and high")
            if len({repr(choice) for choice in self.choices}) != len(self.choices) or len(self.choices) < 2:
                raise ValueError(f"choices must be two or more different values, got {self.choices}")
        elif self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        elif self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low:g} and {self.high:g}")
        elif self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0, got {self.low:g}")
        return self


class TuneConfig(Section):
    """How the settings of a student are searched."""

    student: str = Field("", description="name of the student; empty: the first of the recipe")
    trials: int = Field(20, ge=1, description="trials of the study, those of an earlier call included")
    sampler: Literal["tpe", "grid", "random"] = Field("tpe", description="how the settings of a trial are chosen")
    pruner: Literal["none", "halving", "median"] = Field(
        "median",
        description="weak trials end early: halving, the worse half at 1, 2, 4, … epochs; median, those worse than it",
    )
    objective: Literal["nll", "accuracy", "macro_f1", "macro_recall", "micro_f1", "subset_accuracy"] = Field(
        "nll", description="validation metric that is searched for"
    )
    folds: int = Field(0, ge=0, description="0: judge on the validation split; K: by cross-validation within train")
    space: dict[str, Range] = Field(
        {},
        description="keys of the student, no others, to ranges; empty: temperature, soft_weight, learning_rate, epochs",
    )

    @field_validator("space", mode="before")
    @classmethod
    def _of_the_student(cls, space: Any) -> Any:
        for key, values in space.items() if isinstance(space, Mapping) else ():
            if isinstance(values, Mapping) and any(isinstance(value, Mapping) for value in values.values()):
                raise ValueError(f"{key}.{next(iter(values))}: {STUDENT_ALONE}")  # data.limit = {low = 1, high = 2}
        return space

    @model_validator(mode="after")
    def _some_folds(self) -> Self:
        if self.folds == 1:
            raise ValueError("folds must be 0 or at least 2, got 1")
        return self


@dataclass(frozen=True)
class Dimension:
    """One searched key: an interval of numbers, or choices."""

    low: float = 0
    high: float = 0
    log: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def points(self) -> tuple[Any, ...]:
        """Every value, if they can be counted."""
        if not self.choices and isinstance(self.low, int):
            return tuple(range(self.low, int(self.high) + 1))
        return self.choices

    def __contains__(self, value: object) -> bool:
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float) and self.low <= value <= self.high

    def to_dict(self) -> dict[str, Any]:
        """As a recipe would say it."""
        return (
            {"choices": list(self.choices)} if self.choices else {"low": self.low, "high": self.high, "log": self.log}
        )


def search_space(config: TuneConfig, student: BaseModel) -> dict[str, Dimension]:
    """What is searched, checked against the student's own limits; raises ValueError in one line."""
    settings = student.model_dump()
    ranges = config.space or inherited(_around(settings), settings)
    unused = unread(settings["loss"], ranges) if "loss" not in ranges else []
    if unused:
        raise ValueError(f"tune.space.{unused[0]}: the loss {settings['loss']} does not read it; remove it")
    space = {key: _dimension(key, values, student) for key, values in ranges.items()}
    endless = [key for key, dimension in space.items() if not dimension.points]
    if config.sampler == "grid" and endless:
        raise ValueError(f"tune.space.{endless[0]}: the grid sampler needs choices or a range of whole numbers")
    return space


def _around(settings: Mapping[str, Any]) -> dict[str, Range]:
    """The default space; it holds the student's own settings."""
    temperature, rate, epochs = (settings[key] for key in ("temperature", "learning_rate", "epochs"))
    return {
        "temperature": Range(low=min(1.0, temperature), high=max(8.0, temperature), log=True),
        "soft_weight": Range(low=0.0, high=1.0),
        "learning_rate": Range(low=rate / 5, high=rate * 5, log=True),
        "epochs": Range(low=max(1, epochs // 2), high=2 * epochs),
    }


def _dimension(key: str, values: Range, student: BaseModel) -> Dimension:
    fields = type(student).model_fields
    if key in _FIXED:
        raise ValueError(f"tune.space.{key}: says which student is searched, and cannot be searched itself")
    if key not in fields:
        raise ValueError(
            f"unknown key 'tune.space.{key}'{nearest(key, [name for name in fields if name not in _FIXED])}"
        )
    if values.choices:
        dimension = Dimension(choices=tuple(values.choices))
    else:
        dimension = _interval(key, values, fields[key].annotation)
    for value in dimension.choices or (dimension.low, dimension.high):
        _refuse_bad(key, value, student)
    return dimension


def _interval(key: str, values: Range, annotation: Any) -> Dimension:
    assert values.low is not None and values.high is not None
    kinds = get_args(annotation) or (annotation,)
    if int in kinds:
        if not (values.low.is_integer() and values.high.is_integer()):
            raise ValueError(f"tune.space.{key}: takes whole numbers, got {values.low:g} and {values.high:g}")
        return Dimension(int(values.low), int(values.high), values.log)
    if float in kinds:
        return Dimension(values.low, values.high, values.log)
    raise ValueError(f"tune.space.{key}: is not a number; give choices")


def _refuse_bad(key: str, value: Any, student: BaseModel) -> None:
    """Refuse what the key may not be. What only a combination forbids fails the trial that meets it."""
    try:
        type(student).model_validate(student.model_dump() | {key: value})
    except ValidationError as error:
        for problem in error.errors():
            if problem["loc"] and key in problem["loc"]:
                got = "" if problem["type"] == "value_error" else f", got {value!r}"  # ours says it itself
                raise ValueError(f"tune.space.{key}: {worded(problem)}{got}") from None
