"""How a student learns from soft labels, and what is taken out of it afterwards."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from .sections import OptimizationConfig, Positive, Proportion
from .soft_terms import Loss, cannot, readers, unread

RANGE_TEXTS = 400  # of train, on which the ranges of quant_epochs are measured; [quantize] comes after distillation


class DistillConfig(OptimizationConfig):
    """How a student learns from soft labels."""

    later = frozenset({"gold_epochs", "gold_learning_rate", "quant_epochs", "quant_learning_rate"})

    epochs: Positive = Field(5, description="passes over the transfer set, at most")
    loss: Loss = Field("kl", description="soft term: KL, MSE of logits, BCE, the teacher's hard labels, decoupled KD")
    temperature: float = Field(2.0, gt=0, description="T of the distillation loss")
    soft_weight: Proportion = Field(0.8, description="weight of the soft term; the hard term has the rest")
    target_weight: float = Field(1.0, ge=0, description="dkd: weight of the target against the rest")
    other_weight: float = Field(1.0, ge=0, description="dkd: weight of the likeness among the other labels")
    correct_teacher: bool = Field(
        False, description="where the teacher is wrong, swap its highest logit with the gold label's"
    )
    hidden_weight: float = Field(0.0, ge=0, description="weight of the distance to the teacher's hidden states; 0: off")
    attention_weight: float = Field(0.0, ge=0, description="weight of the distance to the teacher's attention; 0: off")
    layer_map: Literal["uniform", "last"] | list[Annotated[int, Field(ge=0)]] = Field(
        "uniform",
        description="the teacher's layer for each of the student's: evenly up to its last, its last ones, or a list",
    )

    gold_epochs: int = Field(
        0,
        ge=0,
        description="passes over the gold labels alone afterwards, kept if they lower validation NLL; 0: off",
    )
    gold_learning_rate: float = Field(0.0, ge=0, description="peak learning rate of those; 0: a tenth of learning_rate")
    quant_epochs: int = Field(
        0,
        ge=0,
        description="passes over the transfer set at the very end with INT8 simulated, whose ranges, measured on "
        f"{RANGE_TEXTS} training texts, the int8 file then has; kept if they lower the simulated file's validation "
        "NLL; 0: off",
    )
    quant_learning_rate: float = Field(
        0.0, ge=0, description="peak learning rate of those; 0: a tenth of learning_rate"
    )

    @field_validator("hidden_weight", "attention_weight", "quant_epochs")
    @classmethod
    def _possible(cls, weight: float, info: ValidationInfo) -> float:
        kind = cls.model_fields.get("kind")
        if weight and kind and (reason := cannot(kind.default, str(info.field_name))):
            raise ValueError(reason)
        return weight

    @model_validator(mode="after")
    def _terms(self) -> Self:
        if self.soft_weight == 1 and self.class_weights != "none":
            raise ValueError("class_weights act on the hard term, which soft_weight = 1 removes")
        if self.soft_weight == 1 and self.label_smoothing:
            raise ValueError("label_smoothing acts on the hard term, which soft_weight = 1 removes")
        if self.soft_weight == 0 and (self.loss != "kl" or self.correct_teacher):
            raise ValueError("loss and correct_teacher act on the soft term, which soft_weight = 0 removes")
        if vain := unread(self.loss, self.model_fields_set):
            raise ValueError(
                f"loss {self.loss} does not read {', '.join(vain)}: choose {readers(vain)}, or remove the setting"
            )
        if self.gold_learning_rate and not self.gold_epochs:
            raise ValueError("gold_learning_rate is that of gold_epochs, which are 0: set gold_epochs, or remove it")
        if self.quant_learning_rate and not self.quant_epochs:
            raise ValueError("quant_learning_rate is that of quant_epochs, which are 0: set quant_epochs, or remove it")
        if not (self.target_weight or self.other_weight):
            raise ValueError("target_weight and other_weight are both 0, which leaves no soft term: raise one")
        if self.layer_map != "uniform" and not (self.hidden_weight or self.attention_weight):
            raise ValueError("layer_map is read by hidden_weight and attention_weight, which are 0: raise one")
        return self

    @property
    def needs_gold(self) -> str:
        """The setting that takes gold labels, as one says it; empty if the teacher's answers are all that is read."""
        if self.soft_weight < 1:
            return f"soft_weight = {self.soft_weight:g}"
        if self.gold_epochs:
            return f"gold_epochs = {self.gold_epochs}"
        return "correct_teacher" if self.correct_teacher else ""


class PruningConfig(DistillConfig):
    """What is taken out of a transformer student once it is trained, and how long it recovers."""

    prune_heads: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of each layer's attention heads to remove; transformers alone cannot open the result"
    )
    prune_units: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of each layer's feed-forward units to remove"
    )
    recovery_epochs: Positive = Field(2, description="passes over the transfer set after that, at most")

    @property
    def shares(self) -> dict[str, float]:
        """What share is to be removed of what; nothing in most students."""
        found = {"heads": self.prune_heads, "units": self.prune_units}
        return {what: share for what, share in found.items() if share}

    @model_validator(mode="after")
    def _recovery(self) -> Self:
        if not self.shares and self.recovery_epochs != type(self).model_fields["recovery_epochs"].default:
            raise ValueError("recovery_epochs come after pruning: set prune_heads or prune_units, or remove it")
        return self


class EncoderConfig(PruningConfig):
    """What is trained of a student that starts as a trained encoder."""

    later = frozenset({"freeze_encoder"})

    freeze_encoder: bool = Field(False, description="train the classification head only")

    @model_validator(mode="after")
    def _frozen(self) -> Self:
        of_layers = ("prune_heads", "prune_units", "hidden_weight", "attention_weight")
        given = [name for name in of_layers if getattr(self, name)]
        if self.freeze_encoder and given:
            raise ValueError(f"freeze_encoder leaves the layers as they are, which {given[0]} would train: remove one")
        return self


class FilterPruningConfig(DistillConfig):
    """What is taken out of a TextCNN once it is trained, and how long it recovers."""

    prune_filters: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of the filters of each kernel size to remove"
    )
    recovery_epochs: Positive = Field(2, description="passes over the transfer set after that, at most")

    @property
    def shares(self) -> dict[str, float]:
        """What share is to be removed of what; nothing in most students."""
        return {"filters": self.prune_filters} if self.prune_filters else {}

    @model_validator(mode="after")
    def _recovery(self) -> Self:
        if not self.shares and self.recovery_epochs != type(self).model_fields["recovery_epochs"].default:
            raise ValueError("recovery_epochs come after pruning: set prune_filters, or remove it")
        return self


Pruning = PruningConfig | FilterPruningConfig
