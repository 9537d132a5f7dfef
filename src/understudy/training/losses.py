"""Losses: pure functions of what networks give.

    L = soft_weight · S(teacher, student) + (1 − soft_weight) · CE(student, gold label)
        + hidden_weight · H + attention_weight · A

S is one of the soft terms below, H and A compare layers; each is a mean over rows. Labels (n, labels), of a multi-label
task, have losses of their own, in `multilabel_losses`. The teacher's logits come divided by its calibration temperature
(`targets`), and everything is computed in float32, whatever the precision of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import DistillConfig
from ..data.task import UNLABELED
from . import multilabel_losses


@dataclass(frozen=True)
class Batch:
    """Padded token ids (n, length) with their mask, labels (n,) and, when distilling, teacher logits (n, labels).

    Labels of a multi-label task are (n, labels). `hidden` (n, layers, width) and `attention` (n, layers, length): the
    teacher's layers that are to be matched.
    """

    ids: Tensor
    mask: Tensor
    labels: Tensor
    teacher: Tensor | None
    hidden: Tensor | None = None
    attention: Tensor | None = None


@dataclass(frozen=True)
class Answer:
    """What a transformer says that `layers` look into: logits (n, labels), and its layers as a `Batch` has them."""

    logits: Tensor
    hidden: Tensor | None = None
    attention: Tensor | None = None


# what the network gives, logits or an Answer, and the batch → the loss to minimise and its parts to log
Objective = Callable[[Any, Batch], tuple[Tensor, dict[str, Tensor]]]


def cross_entropy(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Mean cross-entropy over the labelled rows, each weighted by its class; 0 where there is none.

    With smoothing ε and k labels: Σ_i [(1 − ε) · w_y · −log p_y + ε/k · Σ_c w_c · −log p_c] / Σ_i w_y (Szegedy et al.
    2016). A weight goes with the label whose logarithm it stands before, and the sum is divided by the weights of the
    gold labels, so that a rare class draws a part of every text's smoothing to itself.
    """
    if labels.ndim == 2:
        return multilabel_losses.binary_cross_entropy(logits, labels, class_weights, label_smoothing)
    labeled = labels != UNLABELED
    if not bool(labeled.any()):
        return logits.float().sum() * 0.0
    weight = None if class_weights is None else class_weights.to(logits.device)
    return F.cross_entropy(logits[labeled].float(), labels[labeled], weight=weight, label_smoothing=label_smoothing)


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · KL(softmax(z_teacher/T) ‖ softmax(z_student/T)), summed over labels, averaged over rows.

    T² keeps the gradient's scale when T changes (Hinton, Vinyals and Dean 2015).
    """
    target, predicted = _log_probabilities(teacher, temperature), _log_probabilities(student, temperature)
    return temperature**2 * F.kl_div(predicted, target, reduction="batchmean", log_target=True)


def logit_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over rows and labels of (z̃_student − z̃_teacher)², z̃ = z − mean(z) of its row.

    Regression on logits: Ba and Caruana 2014; compared with KL by Kim et al. 2021. Softmax does not see a constant
    added to a row, so the constant of the teacher's is an accident of its training, which the student need not learn.
    Half of it is what T² · KL tends to as T grows (Hinton et al. 2015).
    """
    difference = student.float() - teacher.float()
    return (difference - difference.mean(dim=-1, keepdim=True)).square().mean()


def soft_binary_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """−T² · mean over rows and labels of p · log q + (1 − p) · log(1 − q); p, q = softmax(z/T) of teacher and student.

    With two labels and T = 1 the loss of published project 002 (`docs/seeds.md`); with the sigmoids of many labels that
    of Rebuffi et al. 2017 (iCaRL). For two labels it is T² · KL plus the entropy of p, which no student can lower. With
    more, a label also counts by the probability that it is not the answer, as where labels are learnt one against the
    rest.
    """
    target, predicted = _log_probabilities(teacher, temperature), _log_probabilities(student, temperature)
    likelihood = target.exp() * predicted + _log_of_the_rest(target).exp() * _log_of_the_rest(predicted)
    return -(temperature**2) * likelihood.mean()


def pseudo_label_cross_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy with the label that the teacher chooses (pseudo-labels: Lee 2013)."""
    return F.cross_entropy(student.float(), teacher.argmax(dim=-1))


def decoupled_terms(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Per row, KL of (target, all others) and KL among the others, of softmax(z/T) (Zhao et al. 2022).

    KL(teacher ‖ student) is the first plus (1 − p_target) times the second, p of the teacher: a sure teacher says
    next to nothing of how the other labels compare. The target is the gold label; where there is none, the label that
    the teacher chooses. Zhao et al. weight the first by 1 and the second by 0.5 to 8, more for a surer teacher.
    """
    target = torch.where(labels == UNLABELED, teacher.argmax(dim=-1), labels)
    chosen = F.one_hot(target, teacher.shape[-1]).bool()
    terms = []
    for split in (_target_and_rest, _others):
        wanted, given = split(teacher, chosen, temperature), split(student, chosen, temperature)
        terms.append(F.kl_div(given, wanted, reduction="none", log_target=True).sum(dim=-1))
    return terms[0], terms[1]


def hidden_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over rows and mapped layers of ‖h_s/‖h_s‖ − h_t/‖h_t‖‖², which is 2 − 2 · cos(h_s, h_t); between 0 and 4.

    h, of (n, layers, width): the first token's states. Patient distillation (Sun et al. 2019, "Patient Knowledge
    Distillation for BERT Model Compression", equation 7), where the length of a state is free to differ. The last layer
    is compared like the others, as by Jiao et al. 2020 (TinyBERT).
    """
    difference = F.normalize(student.float(), dim=-1) - F.normalize(teacher.float(), dim=-1)
    return difference.square().sum(dim=-1).mean()


def attention_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over rows and mapped layers of Σ_tokens (a_s − a_t)²; between 0 and 2.

    a, of (n, layers, tokens): the weights with which the first token attends to the others, mean over heads, so that
    student and teacher may have different numbers of them. Jiao et al. 2020 compare all rows of every head, before
    softmax. A square and not KL: in training, dropout makes some of the student's weights 0.
    """
    return (student.float() - teacher.float()).square().sum(dim=-1).mean()


def soft_term(config: DistillConfig, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """The soft term that the config asks for."""
    if labels.ndim == 2:
        return multilabel_losses.soft_term(config, student, teacher)
    match config.loss:
        case "kl":
            return soft_cross_entropy(student, teacher, config.temperature)
        case "mse":
            return logit_mse(student, teacher)
        case "bce":
            return soft_binary_cross_entropy(student, teacher, config.temperature)
        case "hard":
            return pseudo_label_cross_entropy(student, teacher)
        case "dkd":
            target, others = decoupled_terms(student, teacher, labels, config.temperature)
            return config.temperature**2 * (config.target_weight * target + config.other_weight * others).mean()


def supervised(class_weights: Tensor | None = None, label_smoothing: float = 0.0) -> Objective:
    """Learn from gold labels alone."""

    def objective(logits: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        hard = cross_entropy(logits, batch.labels, class_weights, label_smoothing)
        return hard, {"hard_loss": hard}

    return objective


def distillation(config: DistillConfig, class_weights: Tensor | None = None) -> Objective:
    """L = soft_weight · S + (1 − soft_weight) · CE; an unlabelled text has only the first.

    The hard term is divided by all rows of the batch, so that an unlabelled row does not raise the weight of a
    labelled one.
    """

    def objective(logits: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        if batch.teacher is None:
            raise ValueError("distillation needs teacher logits")
        soft = soft_term(config, logits, batch.teacher, batch.labels)
        labeled_share = (batch.labels != UNLABELED).float().mean()
        hard = cross_entropy(logits, batch.labels, class_weights, config.label_smoothing) * labeled_share
        loss = config.soft_weight * soft + (1 - config.soft_weight) * hard
        return loss, {"soft_loss": soft, "hard_loss": hard}

    return objective


def with_layers(objective: Objective, config: DistillConfig) -> Objective:
    """L of another objective + hidden_weight · H + attention_weight · A, of the Answer of a network."""

    def added(answer: Answer, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss, parts = objective(answer.logits, batch)
        if answer.hidden is not None and batch.hidden is not None:
            parts["hidden_loss"] = hidden_distance(answer.hidden, batch.hidden)
            loss = loss + config.hidden_weight * parts["hidden_loss"]
        if answer.attention is not None and batch.attention is not None:
            parts["attention_loss"] = attention_distance(answer.attention, batch.attention)
            loss = loss + config.attention_weight * parts["attention_loss"]
        return loss, parts

    return added


def balanced_class_weights(labels: Tensor, classes: int) -> Tensor:
    """n / (classes · count) per class, at most 10, so that a rare class cannot rule the gradient."""
    if labels.ndim == 2:
        return multilabel_losses.balanced_label_weights(labels)
    counts = torch.bincount(labels[labels != UNLABELED], minlength=classes).clamp(min=1)
    return (counts.sum() / (classes * counts)).clamp(max=10.0).float()


def _log_probabilities(logits: Tensor, temperature: float) -> Tensor:
    return F.log_softmax(logits.float() / temperature, dim=-1)


def _log_of_the_rest(logs: Tensor) -> Tensor:
    """log(1 − p) of every label, finite also where p rounds to 1: there it is the logarithm of the others' sum."""
    top = logs.argmax(dim=-1, keepdim=True)
    others = logs.scatter(-1, top, -torch.inf)  # all at most 1/2
    return torch.log1p(-others.exp()).scatter(-1, top, others.logsumexp(dim=-1, keepdim=True))


def _target_and_rest(logits: Tensor, chosen: Tensor, temperature: float) -> Tensor:
    """log (p_target, 1 − p_target) of each row."""
    scaled = logits.float() / temperature
    rest = scaled[~chosen].view(len(scaled), -1).logsumexp(dim=-1)
    return F.log_softmax(torch.stack([scaled[chosen], rest], dim=-1), dim=-1)


def _others(logits: Tensor, chosen: Tensor, temperature: float) -> Tensor:
    """log p of the labels that are not the target, among themselves."""
    return _log_probabilities(logits[~chosen].view(len(logits), -1), temperature)
