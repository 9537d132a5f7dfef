"""The terms that a student can learn by: what each is, which settings it reads, and which students can learn by it.

L = soft_weight · S(teacher, student) + (1 − soft_weight) · CE(student, gold label), where S is one of the soft terms,
and, where its weight is not 0, hidden_weight · H + attention_weight · A. The functions themselves are in
`training.losses`; this is what settings and reports know of them without torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Loss = Literal["kl", "mse", "bce", "hard", "dkd"]


@dataclass(frozen=True)
class SoftTerm:
    """A soft term: its formula, for a person, where it comes from, and the settings that not every term reads.

    `by_label` is the formula in a multi-label task, a mean over labels; empty where there is none.
    """

    formula: str
    by_label: str
    source: str
    settings: tuple[str, ...] = ()


SOFT_TERMS: dict[str, SoftTerm] = {
    "kl": SoftTerm(
        "T² · KL(teacher ‖ student)",
        "T² · KL(teacher ‖ student), label by label",
        "Hinton, Vinyals and Dean 2015; label by label: Yang et al. 2023",
        ("temperature",),
    ),
    "mse": SoftTerm(
        "the mean squared difference of the centred logits",
        "the mean squared difference of the logits",
        "Ba and Caruana 2014; against KL: Kim et al. 2021",
    ),
    "bce": SoftTerm(
        "T² · the binary cross-entropy of the probabilities, label by label",
        "T² · the binary cross-entropy of the probabilities, label by label",
        "project 002 of docs/seeds.md, two labels and T = 1; with sigmoids for many labels Rebuffi et al. 2017 (iCaRL)",
        ("temperature",),
    ),
    "hard": SoftTerm(
        "the cross-entropy with the label that the teacher chooses",
        "the binary cross-entropy with the labels that the teacher thinks likelier than not",
        "Lee 2013 (pseudo-labels)",
    ),
    "dkd": SoftTerm(
        "T² · (target_weight · KL of the target against the rest + other_weight · KL among the other labels)",
        "",
        "Zhao et al. 2022",
        ("temperature", "target_weight", "other_weight"),
    ),
}

# the letter of each, what it is, for a person, and where it comes from
LAYER_TERMS = {
    "hidden_weight": (
        "H",
        "the mean squared distance of the first token's states, of length 1, over the layer map",
        "Sun et al. 2019 (patient distillation)",
    ),
    "attention_weight": (
        "A",
        "the squared distance of the first token's attention over the layer map",
        "after Jiao et al. 2020 (TinyBERT), of all tokens and heads there",
    ),
}

_NO_LAYERS = "is for students that are transformers, like the teacher, and a {kind} has no such layers: remove it"
_OWN_TOKENS = "compares attention token by token, and a {kind} student learns tokens of its own: remove it"
_NO_PRODUCTS = "is for students with matrix products in INT8, and a {kind} has none: remove it"
QUANTIZED_STAGE = ("quant_epochs", "quant_learning_rate")
_CANNOT = {
    **{kind: dict.fromkeys(LAYER_TERMS, _NO_LAYERS) for kind in ("textcnn", "gated-cnn")},
    **{
        kind: dict.fromkeys(LAYER_TERMS, _NO_LAYERS) | dict.fromkeys(QUANTIZED_STAGE, _NO_PRODUCTS)
        for kind in ("bilstm", "bigru", "hashed")
    },
    "transformer": {"attention_weight": _OWN_TOKENS},
}

FOLDED_STATES = (
    "hidden_weight compares with one teacher's states, and folds ask a teacher per fold, each with axes of its own: "
    "set folds = 0 or hidden_weight = 0"
)
ONE_LABEL = (
    "loss dkd parts one right label from the others, and in a task of kind multi there may be several: choose kl"
)
TWO_LABELS = "loss dkd needs three labels: with two there is nothing to decouple, and it would be kl; set loss = kl"


def unread(loss: str, given: Iterable[str]) -> list[str]:
    """Those of the given settings that another soft term reads, and this one does not; none for an unknown loss."""
    read = {name: set(term.settings) for name, term in SOFT_TERMS.items()}
    return sorted((set().union(*read.values()) & set(given)) - read[loss]) if loss in read else []


def inherited(settings: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """What one with settings of its own takes over of others: not what its loss does not read or its kind cannot do."""
    left_out = {*unread(str(own.get("loss")), settings), *_CANNOT.get(str(own.get("kind")), {})}
    taken = {name: value for name, value in settings.items() if name not in left_out}
    if not any({**taken, **own}.get(weight) for weight in LAYER_TERMS):
        taken.pop("layer_map", None)
    return taken


def cannot(kind: str, setting: str) -> str:
    """Why a student of this kind cannot have the weight of a term, or another setting; empty if it can."""
    return _CANNOT.get(kind, {}).get(setting, "").format(kind=kind)


def whole_loss(settings: Mapping[str, Any], kind: str = "single") -> str:
    """The loss of a student with these settings in a task of this kind, for a person."""
    term = SOFT_TERMS[settings.get("loss", "kl")]
    hard = "binary cross-entropy with the gold labels" if kind == "multi" else "cross-entropy with the gold label"
    loss = f"soft_weight · S + (1 − soft_weight) · {hard}"
    if settings.get("label_smoothing"):
        loss += f", smoothed by {settings['label_smoothing']:g},"
    where = [f"S is {term.by_label if kind == 'multi' else term.formula}"]
    for weight, (letter, meaning, _) in LAYER_TERMS.items():
        if settings.get(weight):
            loss += f" + {settings[weight]:g} · {letter}"
            where.append(f"{letter} is {meaning}")
    return f"{loss}, where {'; '.join(where)}"


def readers(settings: Iterable[str]) -> str:
    """The losses that read all of the settings, as one says it."""
    names = [name for name, term in SOFT_TERMS.items() if set(settings) <= set(term.settings)]
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
