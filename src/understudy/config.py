"""Every setting of every stage: its default, its limits, its flag and its help, in one place.

A recipe is a TOML file with the sections below; `load_recipe` reads and checks one. The command line makes its
flags from the same fields. Nothing here imports torch.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from .errors import RecipeError
from .explaining import Kinds, explain
from .kinds import SEPARATOR
from .sections import NAME, Positive, Proportion, Variant
from .sections import BenchmarkConfig as BenchmarkConfig
from .sections import DistillConfig as DistillConfig
from .sections import ExportConfig as ExportConfig
from .sections import FilterPruningConfig as FilterPruningConfig
from .sections import LabelConfig as LabelConfig
from .sections import LabelPolicy as LabelPolicy
from .sections import OptimizationConfig as OptimizationConfig
from .sections import PruningConfig as PruningConfig
from .sections import QuantizeConfig as QuantizeConfig
from .sections import Section as Section
from .sections import TeacherConfig as TeacherConfig
from .soft_terms import FOLDED_STATES, LAYER_TERMS, TWO_LABELS, inherited
from .space import TuneConfig, search_space
from .task_settings import CalibrateConfig as CalibrateConfig
from .task_settings import TaskConfig as TaskConfig
from .task_settings import check_kind, check_variants
from .teachers import TEACHER_KINDS as TEACHER_KINDS
from .teachers import AnyTeacher, unread_settings

Normalization = Literal["html", "nfc", "users", "links"]
TableFormat = Literal["csv", "parquet"]
FORMATS: tuple[TableFormat, ...] = ("csv", "parquet")
S = TypeVar("S", bound=Section)


class DataConfig(Section):
    """Where the texts are and how they are cut into splits."""

    train: str = Field(description="file of labelled texts, its URL#sha256=HEX, or a split name with `hub`")
    train_labels: bool = Field(
        True, description="false: labels in `train` are not read; students learn from a ready teacher alone"
    )
    val: str = Field("", description="validation file or split; empty: cut from train")
    test: str = Field("", description="test file or split; empty: cut from train")
    unlabeled: list[str] = Field([], description="files of texts without labels, added to the transfer set")
    hub: str = Field(
        "", description="data set on the Hugging Face hub (NAME[@REVISION]), of which train, val, test are splits"
    )
    hub_config: str = Field("", description="configuration of the hub data set")
    text: str = Field("text", description="column of the text")
    label: str = Field(
        "label", description="column of the label: a declared name, or its index; multi: a list of them, or one cell; "
        "empty: a column of 0 and 1 for each label, with its name",
    )  # fmt: skip
    label_separator: str = Field(
        SEPARATOR, min_length=1, description="multi: what stands between the labels in a cell; empty cell: no label"
    )
    val_size: Proportion = Field(0.1, description="share cut for validation when `val` is empty")
    test_size: Proportion = Field(0.1, description="share cut for test when `test` is empty")
    limit: int = Field(0, ge=0, description="at most this many training rows, a stratified subset; 0: all")
    test_limit: int = Field(0, ge=0, description="at most this many test rows, a stratified subset; 0: all")
    group_by: str = Field(
        "", description="column whose equal values stay in one split, or `containment`, or `near_duplicates`"
    )
    normalize: list[Normalization] = Field(["html", "nfc"], description="text normalisation, in this order")

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        cuts = {name: getattr(self, f"{name}_size") for name in ("val", "test") if not getattr(self, name)}
        for name in {"val", "test"} - set(cuts):
            if f"{name}_size" in self.model_fields_set:
                raise ValueError(f"{name}_size is for a {name} split cut from train, and {name} is given: remove one")
        for name, size in cuts.items():
            if not size:
                raise ValueError(f"without a `{name}` file, {name}_size must be above 0")
        if sum(cuts.values()) >= 1:
            raise ValueError("val_size + test_size must leave rows to train on")
        if self.hub_config and not self.hub:
            raise ValueError("hub_config needs hub")
        if not self.train_labels and not self.test:
            raise ValueError("without train_labels a test split cut from train has no labels: set test")
        return self


class _Student(DistillConfig):
    name: str = Field("student", pattern=NAME, description="name of its directory")
    max_length: int = Field(0, ge=0, le=8192, description="tokens kept of a text; 0: as the teacher")

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name in ("teacher", "majority", "tfidf-lr") or name.endswith("-no-teacher"):
            raise ValueError(f"{name!r} is the name of another model of the run; choose another")
        return name

    @field_validator("max_length")
    @classmethod
    def _room(cls, length: int) -> int:
        if 0 < length < 4:
            raise ValueError(f"must be 0 or at least 4, got {length}")
        return length


class CutStudent(_Student, PruningConfig):
    """The teacher with fewer layers."""

    kind: Literal["cut"] = "cut"
    layers: int | list[int] = Field(3, description="how many of the lowest layers, or which (from 0)")
    trim_vocabulary: bool = Field(True, description="drop the tokens that the transfer set never uses")

    @field_validator("layers")
    @classmethod
    def _some(cls, layers: int | list[int]) -> int | list[int]:
        numbers = [layers - 1] if isinstance(layers, int) else layers
        if not numbers or min(numbers) < 0 or len(set(numbers)) != len(numbers):
            raise ValueError(f"must be how many (at least 1) or a list of distinct layers (from 0), got {layers}")
        return layers


class PretrainedStudent(_Student, PruningConfig):
    """Another pretrained encoder with its own tokenizer."""

    kind: Literal["pretrained"] = "pretrained"
    model: str = Field(description="hub name, directory (as seen from here) or bundled:minilm-l6")
    trim_vocabulary: bool = Field(False, description="drop the tokens that the transfer set never uses")


class TransformerStudent(_Student, PruningConfig):
    """A small BERT from scratch, with a WordPiece vocabulary learnt on the training texts."""

    later = frozenset({"prune_heads", "prune_units", "recovery_epochs"})

    kind: Literal["transformer"] = "transformer"
    layers: Positive = Field(2, description="layers")
    width: Positive = Field(128, description="hidden size; the feed-forward layer has four times as many units")
    heads: Positive = Field(2, description="attention heads")
    vocabulary: Annotated[int, Field(ge=64)] = Field(8000, description="WordPiece vocabulary, at most")

    @model_validator(mode="after")
    def _heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self


class _WordStudent(_Student):
    """A network over word embeddings."""

    width: Positive = Field(300, description="size of the word embeddings")
    vocabulary: Annotated[int, Field(ge=8)] = Field(20000, description="word vocabulary, at most, from train only")
    min_count: Positive = Field(2, description="rarer words are unknown")
    teacher_embeddings: bool = Field(False, description="start a word as the mean of the teacher's pieces of it")


class TextCNNStudent(_WordStudent, FilterPruningConfig):
    """Convolutions over word embeddings (Kim 2014)."""

    later = frozenset({"prune_filters", "recovery_epochs"})

    kind: Literal["textcnn"] = "textcnn"
    filters: Positive = Field(100, description="filters of each kernel size")
    kernels: list[Positive] = Field([3, 4, 5], min_length=1, description="kernel sizes, in words")


class BiLSTMStudent(_WordStudent):
    """A bidirectional LSTM over word embeddings; sizes of Tang et al. 2019 (castorini/d-bert, birnn_sst2.json)."""

    kind: Literal["bilstm"] = "bilstm"
    units: Positive = Field(150, description="units of each direction")
    layers: Positive = Field(1, description="layers")


StudentConfig = Annotated[
    CutStudent | PretrainedStudent | TransformerStudent | TextCNNStudent | BiLSTMStudent, Field(discriminator="kind")
]


class Recipe(Section):
    """A whole run."""

    seed: int = Field(13, ge=0, description="drives every random choice")
    track: Literal["none", "mlflow"] = Field("none", description="where `run` and `tune` also record what they made")
    task: TaskConfig
    data: DataConfig
    teacher: AnyTeacher = TeacherConfig()
    label: LabelConfig = LabelConfig()
    distill: DistillConfig = DistillConfig()
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

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, raw: Any) -> Any:
        """Give every student the settings of [distill] that it does not set itself, if its own loss reads them."""
        if isinstance(raw, dict) and isinstance(raw.get("students"), list) and isinstance(raw.get("distill", {}), dict):
            shared = {k: v for k, v in raw.get("distill", {}).items() if k in DistillConfig.model_fields}
            given = [inherited(shared, s) | s if isinstance(s, dict) else s for s in raw["students"]]
            raw = raw | {"students": given}
        return raw

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
        if sought := {"soft_weight", "correct_teacher", "class_weights"} & set(self.tune.space):
            raise ValueError(f"{none} tune.space cannot have {', '.join(sorted(sought))}")

    @model_validator(mode="after")
    def _of_the_kind(self) -> Self:
        check_kind(self)
        return self

    @model_validator(mode="after")
    def _search(self) -> Self:
        search_space(self.tune, self.tuned)
        if self.tune.folds and self.data.group_by:
            raise ValueError("tune.folds would part the groups of data.group_by: set folds = 0")
        return self

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


STUDENT_KINDS: dict[str, type[_Student]] = {
    "cut": CutStudent,
    "pretrained": PretrainedStudent,
    "transformer": TransformerStudent,
    "textcnn": TextCNNStudent,
    "bilstm": BiLSTMStudent,
}
_CHOICES: dict[str, Kinds] = {"students": STUDENT_KINDS, "teacher": TEACHER_KINDS}


def load_recipe(path: Path, tune: Mapping[str, Any] | None = None) -> Recipe:
    """Read and check a recipe, with changes of [tune]; raises RecipeError in one line that names the key."""
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
    return parse(Recipe, raw, str(path))


def parse(section: type[S], raw: dict[str, Any], source: str) -> S:
    """Check raw settings against a section; raises RecipeError in one line, `source` named first."""
    try:
        return section.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(f"{source}: {explain(section, error, _CHOICES)}") from None
