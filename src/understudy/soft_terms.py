"""The soft terms that a student can learn by: what each is, and which settings it reads.

L = soft_weight · S(teacher, student) + (1 − soft_weight) · CE(student, gold label), where S is one of these. The
functions themselves are in `training.losses`; this is what settings and reports know of them without torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Loss = Literal["kl", "mse", "bce", "hard", "dkd"]


@dataclass(frozen=True)
class SoftTerm:
    """A soft term: its formula, for a person, and the settings that not every term reads.

    `by_label` is the formula in a multi-label task, a mean over labels; empty where there is none.
    """

    formula: str
    by_label: str
    settings: tuple[str, ...] = ()


SOFT_TERMS: dict[str, SoftTerm] = {
    "kl": SoftTerm("T² · KL(teacher ‖ student)", "T² · KL(teacher ‖ student), label by label", ("temperature",)),
    "mse": SoftTerm("the mean squared difference of the centred logits", "the mean squared difference of the logits"),
    "bce": SoftTerm(
        "T² · the binary cross-entropy of the probabilities, label by label",
        "T² · the binary cross-entropy of the probabilities, label by label",
        ("temperature",),
    ),
    "hard": SoftTerm(
        "the cross-entropy with the label that the teacher chooses",
        "the binary cross-entropy with the labels that the teacher thinks likelier than not",
    ),
    "dkd": SoftTerm(
        "T² · (target_weight · KL of the target against the rest + other_weight · KL among the other labels)",
        "",
        ("temperature", "target_weight", "other_weight"),
    ),
}

ONE_LABEL = (
    "loss dkd parts one right label from the others, and in a task of kind multi there may be several: choose kl"
)
TWO_LABELS = "loss dkd needs three labels: with two there is nothing to decouple, and it would be kl; set loss = kl"


def unread(loss: str, given: Iterable[str]) -> list[str]:
    """Those of the given settings that another soft term reads, and this one does not; none for an unknown loss."""
    read = {name: set(term.settings) for name, term in SOFT_TERMS.items()}
    return sorted((set().union(*read.values()) & set(given)) - read[loss]) if loss in read else []


def inherited(settings: Mapping[str, Any], loss: object) -> dict[str, Any]:
    """What one with a loss of its own takes over of the settings of another: not those that its loss does not read."""
    left_out = unread(str(loss), settings)
    return {name: value for name, value in settings.items() if name not in left_out}


def readers(settings: Iterable[str]) -> str:
    """The losses that read all of the settings, as one says it."""
    names = [name for name, term in SOFT_TERMS.items() if set(settings) <= set(term.settings)]
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
