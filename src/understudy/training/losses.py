"""Losses: pure functions of logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.task import UNLABELED


@dataclass(frozen=True)
class Batch:
    """Padded token ids (n, length) with their mask, labels (n,) and, when distilling, teacher logits (n, labels)."""

    ids: Tensor
    mask: Tensor
    labels: Tensor
    teacher: Tensor | None


# logits, batch → the loss to minimise and its parts to log
Objective = Callable[[Tensor, Batch], tuple[Tensor, dict[str, Tensor]]]


def cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over the labelled rows, each weighted by its class; 0 where there is none."""
    labeled = labels != UNLABELED
    if not bool(labeled.any()):
        return logits.float().sum() * 0.0
    weight = None if class_weights is None else class_weights.to(logits.device)
    return F.cross_entropy(logits[labeled].float(), labels[labeled], weight=weight)


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float, calibration: float = 1.0) -> Tensor:
    """T² · KL(softmax(z_teacher/(T·c)) ‖ softmax(z_student/T)), summed over labels, averaged over rows.

    c is the teacher's calibration temperature. T² keeps the gradient's scale when T changes (Hinton et al. 2015).
    """
    target = F.log_softmax(teacher.float() / (temperature * calibration), dim=-1)
    predicted = F.log_softmax(student.float() / temperature, dim=-1)
    return temperature**2 * F.kl_div(predicted, target, reduction="batchmean", log_target=True)


def supervised(class_weights: Tensor | None = None) -> Objective:
    """Learn from gold labels alone."""

    def objective(logits: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        hard = cross_entropy(logits, batch.labels, class_weights)
        return hard, {"hard_loss": hard}

    return objective


def distillation(
    temperature: float, soft_weight: float, calibration: float = 1.0, class_weights: Tensor | None = None
) -> Objective:
    """L = soft_weight · T² · KL(teacher ‖ student) + (1 − soft_weight) · CE; an unlabelled text has only the first.

    The hard term is divided by all rows of the batch, so that an unlabelled row does not raise the weight of a
    labelled one.
    """

    def objective(logits: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        if batch.teacher is None:
            raise ValueError("distillation needs teacher logits")
        soft = soft_cross_entropy(logits, batch.teacher, temperature, calibration)
        labeled_share = (batch.labels != UNLABELED).float().mean()
        hard = cross_entropy(logits, batch.labels, class_weights) * labeled_share
        loss = soft_weight * soft + (1 - soft_weight) * hard
        return loss, {"soft_loss": soft, "hard_loss": hard}

    return objective


def balanced_class_weights(labels: Tensor, classes: int) -> Tensor:
    """n / (classes · count) per class, at most 10, so that a rare class cannot rule the gradient."""
    counts = torch.bincount(labels[labels != UNLABELED], minlength=classes).clamp(min=1)
    return (counts.sum() / (classes * counts)).clamp(max=10.0).float()
