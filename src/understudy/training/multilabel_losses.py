"""Losses of multi-label tasks: each label is a decision of its own, with the two logits 0 and z.

    L = soft_weight · S(teacher, student) + (1 − soft_weight) · BCE(student, gold labels)

All are means over rows and labels, so that the weights of soft and hard term mean the same whatever the number of
labels. Labels are 0 and 1, (n, labels), rows of `UNLABELED` where there are none; logits are taken as float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import DistillConfig
from ..data.task import UNLABELED


def binary_cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Mean over labelled rows and labels of −[w·y·log σ(z) + (1 − y)·log σ(−z)]; 0 where there is no such row.

    With smoothing ε, y becomes (1 − ε)·y + ε/2: each label decides between two outcomes.
    """
    labeled = (labels != UNLABELED).all(dim=1)
    if not bool(labeled.any()):
        return logits.float().sum() * 0.0
    weight = None if weights is None else weights.to(logits.device)
    target = (1 - label_smoothing) * labels[labeled].float() + label_smoothing / 2
    return F.binary_cross_entropy_with_logits(logits[labeled].float(), target, pos_weight=weight)


def soft_binary_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · mean over rows and labels of KL(σ(z_teacher/T) ‖ σ(z_student/T)), p·log(p/q) + (1 − p)·log((1 − p)/(1 − q)).

    The KL of `losses` for each label's softmax of (0, z), one label at a time (as Yang et al. 2023, "Multi-Label
    Knowledge Distillation").
    """
    wanted, given = (scores.float() / temperature for scores in (teacher, student))
    terms = (
        torch.sigmoid(sign * wanted) * (F.logsigmoid(sign * wanted) - F.logsigmoid(sign * given)) for sign in (1, -1)
    )
    return temperature**2 * torch.stack(list(terms)).sum(dim=0).mean()


def soft_binary_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """−T² · mean of p·log q + (1 − p)·log(1 − q): the divergence and the entropy of p, which stays.

    At T = 1 the distillation loss of Rebuffi et al. 2017 (iCaRL).
    """
    wanted = torch.sigmoid(teacher.float() / temperature)
    return temperature**2 * F.binary_cross_entropy_with_logits(student.float() / temperature, wanted)


def logit_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over rows and labels of (z_student − z_teacher)²: not centred, a sigmoid sees what is added to a row.

    Regression on logits: Ba and Caruana 2014.
    """
    return (student.float() - teacher.float()).square().mean()


def pseudo_label_cross_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    """Binary cross-entropy with the labels that the teacher thinks likelier than not (z > 0, at any temperature).

    Pseudo-labels: Lee 2013.
    """
    return F.binary_cross_entropy_with_logits(student.float(), (teacher > 0).float())


def soft_term(config: DistillConfig, student: Tensor, teacher: Tensor) -> Tensor:
    """The soft term that the config asks for; a recipe refuses `dkd`, which needs one right label."""
    match config.loss:
        case "kl":
            return soft_binary_divergence(student, teacher, config.temperature)
        case "bce":
            return soft_binary_cross_entropy(student, teacher, config.temperature)
        case "mse":
            return logit_mse(student, teacher)
        case "hard":
            return pseudo_label_cross_entropy(student, teacher)
        case "dkd":
            raise ValueError("dkd needs one right label per row")


def balanced_label_weights(labels: Tensor) -> Tensor:
    """Rows without a label / rows with it, at most 10: the weight of a label's positive rows in the hard term."""
    rows = labels[(labels != UNLABELED).all(dim=1)]
    positive = rows.sum(dim=0)
    return ((len(rows) - positive) / positive.clamp(min=1)).clamp(max=10.0).float()
