"""The losses of several labels per text are their formulas, and each says what is to be learnt."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, rel_entr
from torch import Tensor

from understudy.config import DistillConfig
from understudy.training.losses import Batch, balanced_class_weights, cross_entropy, distillation, soft_cross_entropy
from understudy.training.multilabel_losses import (
    logit_mse,
    soft_binary_cross_entropy,
    soft_binary_divergence,
    soft_term,
)
from understudy.training.targets import corrected


def logits(seed: int, rows: int = 5, labels: int = 3) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(scale=3, size=(rows, labels)).astype(np.float32))


GOLD = torch.tensor([[1, 0, 1], [0, 0, 0], [-1, -1, -1], [0, 1, 0], [1, 1, 0]])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_divergence_is_a_binary_kl_of_each_label(temperature: float) -> None:
    student, teacher = logits(1), logits(2)
    p, q = (expit(z.numpy().astype(np.float64) / temperature) for z in (teacher, student))
    by_hand = temperature**2 * (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).mean()
    assert float(soft_binary_divergence(student, teacher, temperature)) == pytest.approx(by_hand, rel=1e-4)
    assert float(soft_binary_divergence(teacher, teacher, temperature)) == pytest.approx(0, abs=1e-6)
    pairs = [torch.stack([torch.zeros_like(z), z], dim=-1).view(-1, 2) for z in (student, teacher)]
    assert float(soft_cross_entropy(*pairs, temperature)) == pytest.approx(by_hand, rel=1e-4)
    far = torch.tensor([[200.0, -200.0]])
    assert torch.isfinite(soft_binary_divergence(far, -far, temperature))


def test_the_cross_entropy_differs_by_what_no_student_changes() -> None:
    gradients = []
    for loss in (soft_binary_divergence, soft_binary_cross_entropy):
        student = logits(1).requires_grad_()
        loss(student, logits(2), 2.0).backward()
        gradients.append(student.grad)
    assert torch.allclose(*gradients, atol=1e-6)


def test_a_regression_learns_the_constant_of_a_row() -> None:
    teacher = logits(2)
    assert float(logit_mse(teacher + 1, teacher)) == pytest.approx(1.0, rel=1e-5)


def test_hard_labels_are_the_likelier_than_not() -> None:
    config, teacher = DistillConfig(loss="hard"), torch.tensor([[3.0, -0.1], [0.2, -9.0]])
    right, wrong = torch.tensor([[9.0, -9.0], [9.0, -9.0]]), torch.tensor([[9.0, 9.0], [9.0, -9.0]])
    assert float(soft_term(config, right, teacher)) < 0.01 < float(soft_term(config, wrong, teacher))


def test_the_hard_term_leaves_out_what_has_no_label() -> None:
    student = logits(3)
    labeled = [0, 1, 3, 4]
    p, y = expit(student.numpy()[labeled].astype(np.float64)), GOLD.numpy()[labeled]
    by_hand = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert float(cross_entropy(student, GOLD)) == pytest.approx(by_hand, rel=1e-5)
    assert float(cross_entropy(student[2:3], GOLD[2:3])) == 0
    weighted = -(np.array([3.0, 1, 1]) * y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert float(cross_entropy(student, GOLD, torch.tensor([3.0, 1, 1]))) == pytest.approx(weighted, rel=1e-5)
    soft = 0.8 * y + 0.1
    smoothed = -(soft * np.log(p) + (1 - soft) * np.log(1 - p)).mean()
    assert float(cross_entropy(student, GOLD, None, 0.2)) == pytest.approx(smoothed, rel=1e-5)


def test_soft_and_hard_term_are_weighted() -> None:
    student, teacher = logits(3), logits(4)
    config = DistillConfig(temperature=2.0, soft_weight=0.3)
    loss, parts = distillation(config)(student, Batch(torch.zeros(1), torch.zeros(1), GOLD, teacher))
    soft = soft_binary_divergence(student, teacher, 2.0)
    hard = cross_entropy(student, GOLD) * 0.8  # one of five rows has no label
    assert float(loss) == pytest.approx(float(0.3 * soft + 0.7 * hard), rel=1e-5)
    assert set(parts) == {"soft_loss", "hard_loss"}


def test_balanced_weights_are_the_odds_against_a_label() -> None:
    labels = torch.tensor([[1, 0, 1]] + [[0, 0, 1]] * 3 + [[0, 1, 0]] * 26 + [[-1, -1, -1]] * 9)
    assert balanced_class_weights(labels, 3).tolist() == pytest.approx([10.0, 4 / 26, 26 / 4])


def test_a_corrected_teacher_is_right_and_as_sure() -> None:
    teacher, gold = logits(5).numpy(), GOLD.numpy()
    found = corrected(teacher, gold)
    labeled = gold[:, 0] >= 0
    assert ((found > 0) == (gold == 1))[labeled].all()
    assert np.array_equal(np.abs(found), np.abs(teacher))
    assert np.array_equal(found[~labeled], teacher[~labeled])
