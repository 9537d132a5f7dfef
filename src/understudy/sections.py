"""What the sections of a recipe are made of: strict settings, and how a model is trained, asked and distilled."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from .machine import Provider
from .soft_terms import FOLDED_STATES

Proportion = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
LabelPolicy = Literal["exact", "drop_and_renormalise", "merge", "abstain"]
# The first four are ONNX files; the others need torch to run.
Variant = Literal["fp32", "fp16", "int8", "int8-dynamic", "torchscript", "exported", "torch-fp16"]
UNWRITABLE: dict[tuple[str, Variant], str] = {
    ("hashed", "int8-dynamic"): "a hashed student has no products whose ranges could be dynamic",
    **{(kind, "exported"): f"torch.export cannot write a {kind} student" for kind in ("bilstm", "bigru")},
}
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class Section(BaseModel):
    """A frozen section of a recipe; an unknown key is an error, and so are "3" or true for a number, inf and nan."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    later: ClassVar[frozenset[str]] = frozenset()  # keys that runs were made without: a dump has them if they say more

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields, settings = type(self).model_fields, dump(self)
        later = {name for section in type(self).__mro__ for name in vars(section).get("later", ())}
        return {k: v for k, v in settings.items() if k not in later or v != fields[k].default}


class OptimizationConfig(Section):
    """How a model is trained; the one loop reads nothing else."""

    later = frozenset({"ema"})

    epochs: Positive = Field(3, description="passes over the training texts, at most")
    learning_rate: float = Field(1e-4, gt=0, description="peak learning rate of AdamW")
    batch_size: Positive = Field(32, description="texts per optimiser step")
    schedule: Literal["linear", "cosine", "constant", "plateau"] = Field(
        "linear", description="learning rate after warm-up; plateau: halved by each epoch that is no improvement"
    )
    warmup: Proportion = Field(0.1, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(0.01, ge=0, description="decay of AdamW, not on biases and norms")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="dropout of the model")
    clip: float = Field(1.0, ge=0, description="largest gradient norm; 0: no clipping")
    class_weights: Literal["none", "balanced"] = Field("none", description="weights of the hard term per class")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of the hard term's target that is taken from the gold label and spread over all labels"
    )
    stop_metric: Literal["nll", "accuracy", "macro_f1", "macro_recall", "micro_f1", "subset_accuracy"] = Field(
        "nll", description="validation metric that picks the best epoch"
    )
    patience: int = Field(0, ge=0, description="epochs without improvement before stopping; 0: never stop early")
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="decay of the running average of the weights, which is validated and kept; 0: the last step's"
    )
    keep_epochs: bool = Field(
        False, description="keep the weights of every epoch, too, as artifacts epochs/1, epochs/2…"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 where the device multiplies it faster"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")

    @model_validator(mode="after")
    def _ending(self) -> Self:
        if self.schedule == "plateau" and not self.patience:
            raise ValueError("schedule = plateau goes on until nothing improves: set patience to 1 or more")
        return self


class Pretrained(Section):
    """A section whose `model` may be a directory, as seen from that of the recipe."""

    _base: Path = PrivateAttr(Path())

    @property
    def base(self) -> Path:
        """Where a relative `model` is looked for."""
        return self._base

    @property
    def source(self) -> str:
        """The model's directory, if there is one of that name; else its name."""
        name = str(self.model)  # type: ignore[attr-defined]  # those who inherit have it
        return str(self._base / name) if (self._base / name).is_dir() else name

    def seen_from(self, base: Path) -> Self:
        """The same section; a relative `model` is looked for in `base`."""
        self._base = base
        return self


class TeacherConfig(Pretrained, OptimizationConfig):
    """The large classifier."""

    later = frozenset({"truncation", "mlm_epochs", "mlm_learning_rate", "attention_dropout"})

    kind: Literal["model"] = "model"
    model: str = Field(
        "bundled:minilm-l6", description="hub name, directory (beside the recipe or in --data) or bundled:minilm-l6"
    )
    train: bool = Field(True, description="fine-tune it; false: a ready classifier, taken as it is")
    label_map: dict[str, str] = Field({}, description="the ready classifier's label names to the task's; \"\": none")
    label_policy: LabelPolicy = Field(
        "exact", description="how labels of a ready classifier that are not the task's, one for one, become those"
    )
    max_length: int = Field(128, ge=4, le=8192, description="tokens kept of a text")
    truncation: Literal["head", "head_tail"] = Field(
        "head", description="which tokens are kept: the first, or the first quarter and the last three quarters"
    )
    attention_dropout: bool = Field(
        True, description="dropout of the attention weights, too; false trains 256 tokens on a CPU in half the time"
    )
    freeze_encoder: bool = Field(False, description="train the classification head only")
    mlm_epochs: int = Field(
        0, ge=0, description="passes over all texts, the unlabelled too, that fill in masked tokens beforehand; 0: none"
    )
    mlm_learning_rate: float = Field(0.0, ge=0, description="peak learning rate of those; 0: learning_rate")
    variants: list[Variant] = Field(  # no part of a dump: the trained teacher does not depend on them
        ["fp32"], exclude=True, description="files made and measured of it; fp32, the reference, always"
    )

    @field_validator("variants")
    @classmethod
    def _with_reference(cls, variants: list[Variant]) -> list[Variant]:
        return list(dict.fromkeys(["fp32", *variants]))

    @model_validator(mode="after")
    def _ready(self) -> Self:
        for name in ("label_map", "label_policy"):
            if self.train and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is for a ready classifier: set train = false")
        if self.mlm_learning_rate and not self.mlm_epochs:
            raise ValueError("mlm_learning_rate is that of mlm_epochs, which are 0: set mlm_epochs, or remove it")
        if not self.train:
            unused = sorted(self.model_fields_set & set(OptimizationConfig.model_fields))
            unused += [name for name in ("freeze_encoder", "mlm_epochs") if getattr(self, name)]
            unused += [] if self.attention_dropout else ["attention_dropout"]
            if unused:
                raise ValueError(f"a ready classifier (train = false) is not trained: remove {', '.join(unused)}")
        return self


class LabelConfig(Section):
    """How soft labels are written."""

    batch_size: Positive = Field(64, description="texts per forward pass of the teacher")
    shard_size: Positive = Field(4096, description="texts per Parquet shard; an interrupted run redoes one at most")
    folds: int = Field(0, ge=0, description="parts of train, each labelled by a teacher trained on the others; 0: off")
    hidden_states: bool = Field(False, description="also write what hidden_weight needs; a run sees that by itself")
    attention: bool = Field(False, description="also write what attention_weight needs; a run sees that by itself")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")

    @field_validator("folds")
    @classmethod
    def _parts(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("must be 0 (off) or at least 2, got 1")
        return folds

    @model_validator(mode="after")
    def _one_teacher(self) -> Self:
        if self.folds and self.hidden_states:
            raise ValueError(FOLDED_STATES)
        return self

    @property
    def decisive(self) -> dict[str, Any]:
        """The settings that decide what is written."""
        asked = {name: True for name in ("hidden_states", "attention") if getattr(self, name)}
        return self.model_dump(include={"shard_size", "folds"}) | asked

    def also(self, weights: Iterable[str]) -> LabelConfig:
        """These settings, and what students need who have these weights."""
        needed = {"hidden_weight": "hidden_states", "attention_weight": "attention"}
        return self.model_copy(update={needed[weight]: True for weight in weights})


class ExportConfig(Section):
    """How a model becomes ONNX."""

    tolerance: float = Field(1e-4, gt=0, description="largest allowed |difference| of a logit from torch")
    samples: int = Field(200, ge=1, description="texts that the proof runs on")


class QuantizeConfig(Section):
    """How an ONNX model becomes INT8."""

    method: Literal["static", "dynamic"] = Field(
        "static", description="dynamic makes a prediction depend on the other texts of its batch"
    )
    samples: int = Field(400, ge=16, description="training texts that the activation ranges are measured on")
    embeddings: bool = Field(True, description="quantise the embedding tables, row by row")
    max_loss: float = Field(0.5, gt=0, description="points of the task metric that may be lost on validation")
    gate: bool = Field(True, description="compare with the source on validation, repair or refuse")


class BenchmarkConfig(Section):
    """What is measured on the test split."""

    later = frozenset({"margin"})

    speed_texts: Positive = Field(400, description="test texts in a timed pass")
    repeats: Positive = Field(3, description="interleaved timed passes per model; the median counts")
    bootstrap: int = Field(2000, ge=100, description="resamples behind an interval")
    margin: float = Field(
        0.0,
        ge=0,
        le=100,
        description="points of the task metric that a student may lose: is a larger loss ruled out? 0: not asked",
    )
    provider: Provider = Field("cpu", description="what runs ONNX files; cuda, tensorrt: PyTorch, too, is on the GPU")
    pipeline: bool = Field(True, description="time the teacher in a plain transformers pipeline, too")
    predictions: bool = Field(
        True, description="write each model's answers beside the test texts, as CSV; the report then quotes some"
    )
