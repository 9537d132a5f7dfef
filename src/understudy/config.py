"""Every setting of every stage: its default, its limits, its flag and its help, in one place.

A recipe is a TOML file with the sections below; `load_recipe` reads and checks one. The command line makes its
flags from the same fields. Nothing here imports torch.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, ValidationError, model_validator

from .budget_settings import BudgetConfig as BudgetConfig
from .data_settings import DataConfig as DataConfig
from .distill_settings import DistillConfig as DistillConfig
from .errors import RecipeError
from .explaining import Kinds, explain
from .rungs import proposed
from .sections import BenchmarkConfig as BenchmarkConfig
from .sections import ExportConfig as ExportConfig
from .sections import LabelConfig as LabelConfig
from .sections import LabelPolicy as LabelPolicy
from .sections import OptimizationConfig as OptimizationConfig
from .sections import Pretrained as Pretrained
from .sections import QuantizeConfig as QuantizeConfig
from .sections import Section as Section
from .sections import TeacherConfig as TeacherConfig
from .sections import Variant
from .soft_terms import FOLDED_STATES, LAYER_TERMS, TWO_LABELS, inherited
from .space import STUDENT_ALONE, TuneConfig, search_space
from .student_settings import STUDENT_KINDS as STUDENT_KINDS
from .student_settings import BiGRUStudent as BiGRUStudent
from .student_settings import BiLSTMStudent as BiLSTMStudent
from .student_settings import CutStudent as CutStudent
from .student_settings import GatedCNNStudent as GatedCNNStudent
from .student_settings import HashedStudent as HashedStudent
from .student_settings import PretrainedStudent as PretrainedStudent
from .student_settings import StudentConfig as StudentConfig
from .student_settings import TextCNNStudent as TextCNNStudent
from .student_settings import TransformerStudent as TransformerStudent
from .task_settings import CalibrateConfig as CalibrateConfig
from .task_settings import TaskConfig as TaskConfig
from .task_settings import check_kind, check_variants
from .teachers import TEACHER_KINDS as TEACHER_KINDS
from .teachers import AnyTeacher, TableTeacher, only_of_one_label, unread_settings

TableFormat = Literal["csv", "parquet"]
FORMATS: tuple[TableFormat, ...] = ("csv", "parquet")
S = TypeVar("S", bound=Section)


class Recipe(Section):
    """A whole run."""

    later = frozenset({"budget"})

    seed: int = Field(13, ge=0, description="drives every random choice")
    track: Literal["none", "mlflow"] = Field("none", description="where `run` and `tune` also record what they made")
    task: TaskConfig
    data: DataConfig
    teacher: AnyTeacher = TeacherConfig()
    label: LabelConfig = LabelConfig()
    distill: DistillConfig = DistillConfig()
    budget: BudgetConfig | None = Field(
        None, description="what the student must fit; without [[students]], those to try are proposed"
    )
    students: list[StudentConfig] = Field(min_length=1)
    variants: list[Variant] = Field(
        ["fp32", "fp16", "int8"], min_length=1, description="files made and measured for each student"
    )
    controls: Literal["first", "all", "none"] = Field(
        "first", description="which students get a twin that learns without the teacher"
    )
    annotated: list[TableFormat] = Field(
        [], description="files of all texts with the teacher's label and probabilities, beside the models"
    )
    export: ExportConfig = ExportConfig()
    quantize: QuantizeConfig = QuantizeConfig()
    calibrate: CalibrateConfig = CalibrateConfig()
    benchmark: BenchmarkConfig = BenchmarkConfig()
    tune: TuneConfig = TuneConfig()

    _proposed: bool = PrivateAttr(False)

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, raw: Any) -> Any:
        """Give every student the settings of [distill] that it does not set itself, if its own loss reads them."""
        if isinstance(raw, dict) and isinstance(raw.get("students"), list) and isinstance(raw.get("distill", {}), dict):
            shared = {k: v for k, v in raw.get("distill", {}).items() if k in DistillConfig.model_fields}
            given = [inherited(shared, s) | s if isinstance(s, dict) else s for s in raw["students"]]
            raw = raw | {"students": given}
        return raw

    @model_validator(mode="wrap")
    @classmethod
    def _ladder(cls, raw: Any, check: ModelWrapValidatorHandler[Self]) -> Self:
        """Propose students for a budget, where there are none."""
        absent = isinstance(raw, dict) and "budget" in raw and "students" not in raw
        recipe = check(raw | {"students": proposed(raw)} if absent else raw)
        recipe._proposed = absent
        return recipe

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [student.name for student in self.students]
        if len(set(names)) != len(names):
            raise ValueError(f"students must have distinct names, got {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if vain := unread_settings(self.teacher, self.labelling, self.benchmark, self.students):
            raise ValueError(vain)
        if not self.data.train_labels:
            self._without_gold()
        if self.data.augment and isinstance(self.teacher, TableTeacher):
            raise ValueError("data.augment makes texts that are in no table: set it to 0, or take another teacher")
        if len(self.task.labels) == 2 and any(student.loss == "dkd" for student in self.students):
            raise ValueError(TWO_LABELS)
        if self.labelling.folds and self.labelling.hidden_states:
            raise ValueError(FOLDED_STATES)
        check_variants(self)
        return self

    def _without_gold(self) -> None:
        """Refuse what needs the gold labels that are not read."""
        none = "data.train_labels = false leaves no gold labels:"
        if isinstance(self.teacher, TeacherConfig) and self.teacher.train:
            raise ValueError(f"{none} the teacher cannot be trained; set teacher.train = false")
        if self.controls != "none":
            raise ValueError(f'{none} no student can learn without the teacher; set controls = "none"')
        for student in self.students:
            if student.needs_gold:
                raise ValueError(f"{none} student {student.name} cannot have {student.needs_gold}")
        if sought := {"soft_weight", "correct_teacher", "class_weights", "gold_epochs"} & set(self.tune.space):
            raise ValueError(f"{none} tune.space cannot have {', '.join(sorted(sought))}")

    @model_validator(mode="after")
    def _of_the_kind(self) -> Self:
        check_kind(self, only_of_one_label(self.teacher))
        return self

    @model_validator(mode="after")
    def _search(self) -> Self:
        own = type(self.tuned).model_fields
        others = {name for _, section in self if isinstance(section, Section) for name in type(section).model_fields}
        for key in self.tune.space:
            if key not in own and key.rpartition(".")[2] in others | set(type(self).model_fields):
                raise ValueError(f"tune.space.{key}: {STUDENT_ALONE}")
        search_space(self.tune, self.tuned)
        if self.tune.folds and self.data.group_by:
            raise ValueError("tune.folds would part the groups of data.group_by: set folds = 0")
        return self

    @property
    def proposed(self) -> bool:
        """Whether its students were proposed for its budget."""
        return self._proposed

    @property
    def labelling(self) -> LabelConfig:
        """[label] with what students, and those of a search, are to learn beside the logits."""
        used = {w for w in LAYER_TERMS if w in self.tune.space or any(getattr(s, w) for s in self.students)}
        return self.label.also(used)

    @property
    def tuned(self) -> StudentConfig:
        """The student that [tune] is about."""
        names = [student.name for student in self.students]
        if self.tune.student and self.tune.student not in names:
            raise ValueError(
                f"tune.student: the recipe has no student {self.tune.student!r}; it has {', '.join(names)}"
            )
        return self.students[names.index(self.tune.student) if self.tune.student else 0]


_CHOICES: dict[str, Kinds] = {"students": STUDENT_KINDS, "teacher": TEACHER_KINDS}


def load_recipe(path: Path, tune: Mapping[str, Any] | None = None, base: Path | None = None) -> Recipe:
    """Read and check a recipe, with changes of [tune]; raises RecipeError in one line that names the key.

    Models that are directories are looked for in `base`, which is the recipe's own directory if it is None.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not a TOML file: {error}") from None
    if isinstance(raw.get("task"), dict):
        raw["task"].setdefault("name", re.sub(r"[^A-Za-z0-9]+", "-", path.stem).strip("-") or "task")
    if tune and isinstance(raw.get("tune", {}), dict):
        raw["tune"] = raw.get("tune", {}) | tune
    recipe = parse(Recipe, raw, str(path))
    for section in (recipe.teacher, *recipe.students):
        if isinstance(section, Pretrained):
            section.seen_from(base or path.parent)
    return recipe


def parse(section: type[S], raw: dict[str, Any], source: str) -> S:
    """Check raw settings against a section; raises RecipeError in one line, `source` named first."""
    try:
        return section.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(f"{source}: {explain(section, error, _CHOICES)}") from None
