"""The loss is the formula that the design prints, whatever the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from torch import Tensor

from understudy.config import DistillConfig
from understudy.data.task import UNLABELED
from understudy.training.losses import (
    Answer,
    Batch,
    attention_distance,
    balanced_class_weights,
    cross_entropy,
    distillation,
    hidden_distance,
    soft_cross_entropy,
    supervised,
    with_layers,
)

TEMPERATURES = st.floats(0.3, 20)


def logits(seed: int, rows: int = 6, classes: int = 4) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(scale=3, size=(rows, classes)).astype(np.float32))


def batch(labels: list[int], teacher: Tensor | None = None) -> Batch:
    return Batch(torch.zeros(1), torch.zeros(1), torch.tensor(labels), teacher)


def kl(temperature: float, soft_weight: float) -> DistillConfig:
    return DistillConfig(temperature=temperature, soft_weight=soft_weight)


def soft_by_hand(student: Tensor, teacher: Tensor, temperature: float) -> float:
    wanted = log_softmax(teacher.numpy().astype(np.float64) / temperature, axis=1)
    given = log_softmax(student.numpy().astype(np.float64) / temperature, axis=1)
    return float(temperature**2 * (np.exp(wanted) * (wanted - given)).sum(axis=1).mean())


def hard_by_hand(student: Tensor, labels: list[int], weights: list[float]) -> float:
    """Σ w_y · −log p_y / Σ w_y over the labelled rows, times their share of all rows."""
    logs = log_softmax(student.numpy().astype(np.float64), axis=1)
    rows = [(weights[label], -logs[row, label]) for row, label in enumerate(labels) if label != UNLABELED]
    return sum(w * loss for w, loss in rows) / sum(w for w, _ in rows) * len(rows) / len(labels)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), TEMPERATURES)
def test_a_student_that_equals_its_teacher_has_no_soft_loss(seed: int, temperature: float) -> None:
    same = logits(seed)
    assert float(soft_cross_entropy(same, same, temperature)) == pytest.approx(0, abs=1e-4)
    assert float(soft_cross_entropy(same + 5, same, temperature)) == pytest.approx(0, abs=1e-3)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6), TEMPERATURES, st.integers(1, 9))
def test_the_soft_loss_is_the_formula(seed: int, temperature: float, rows: int) -> None:
    student, teacher = logits(seed, rows), logits(seed + 1, rows)
    found = float(soft_cross_entropy(student, teacher, temperature))
    expected = soft_by_hand(student, teacher, temperature)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6 * temperature**2)  # T² times a float32 near zero


def test_the_soft_loss_is_a_mean_over_rows() -> None:
    student, teacher = logits(1), logits(2)
    once = float(soft_cross_entropy(student, teacher, 2.0))
    assert float(soft_cross_entropy(student.repeat(3, 1), teacher.repeat(3, 1), 2.0)) == pytest.approx(once, rel=1e-6)


@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 4.0, 2.0]])
@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 2, 2], [0, UNLABELED, 2, UNLABELED, 3, UNLABELED]])
@pytest.mark.parametrize("soft_weight", [0.0, 0.3, 1.0])
def test_the_loss_is_a_weighted_sum_of_its_logged_parts(
    soft_weight: float, labels: list[int], weights: list[float] | None
) -> None:
    student, teacher = logits(3), logits(4)
    objective = distillation(kl(2.5, soft_weight), None if weights is None else torch.tensor(weights))
    loss, parts = objective(student, batch(labels, teacher))
    soft = soft_by_hand(student, teacher, 2.5)
    hard = hard_by_hand(student, labels, weights or [1.0] * 4)
    assert {name: float(part) for name, part in parts.items()} == pytest.approx(
        {"soft_loss": soft, "hard_loss": hard}, rel=1e-5
    )
    assert float(loss) == pytest.approx(soft_weight * soft + (1 - soft_weight) * hard, rel=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.lists(st.integers(-1, 3), min_size=1, max_size=7), st.floats(0, 0.999), st.booleans())
def test_label_smoothing_is_its_formula(seed: int, labels: list[int], smoothing: float, weighted: bool) -> None:
    """Cross-entropy with the target (1 − ε) · one-hot + ε / k, each part times the weight of its label."""
    student, weights = logits(seed, len(labels)), np.array([0.5, 1.0, 4.0, 2.0] if weighted else [1.0] * 4)
    known = [row for row, label in enumerate(labels) if label != UNLABELED]
    gold = np.eye(4)[[labels[row] for row in known]]
    target = ((1 - smoothing) * gold + smoothing / 4) * weights
    logs = log_softmax(student.numpy().astype(np.float64)[known], axis=1)
    expected = -(target * logs).sum() / (gold * weights).sum() if known else 0.0
    given_weights = torch.tensor(weights, dtype=torch.float32) if weighted else None
    found, _ = supervised(given_weights, smoothing)(student, batch(labels))
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    config = DistillConfig(soft_weight=0.0, label_smoothing=smoothing)
    distilled, _ = distillation(config, given_weights)(student, batch(labels, logits(seed + 1, len(labels))))
    assert float(distilled) == pytest.approx(expected * len(known) / len(labels), rel=1e-4, abs=1e-6)


def test_a_smoothed_target_is_the_best_answer() -> None:
    """The loss has its least where the gold label has 1 − ε + ε / k: no probability of 1 is asked for."""
    best = torch.log(torch.tensor([[0.1 / 4, 0.9 + 0.1 / 4, 0.1 / 4, 0.1 / 4]])).requires_grad_()
    (gradient,) = torch.autograd.grad(supervised(None, 0.1)(best, batch([1]))[0], best)
    assert float(gradient.abs().max()) < 1e-6


def test_soft_weight_0_is_learning_from_labels_alone() -> None:
    student, labels = logits(5), [0, 1, 2, 3, 0, 1]
    expected, parts = supervised()(student, batch(labels))
    assert float(distillation(kl(3.0, 0.0))(student, batch(labels, logits(6)))[0]) == float(expected)
    assert float(expected) == float(parts["hard_loss"])
    assert float(expected) == pytest.approx(
        float(torch.nn.functional.cross_entropy(student, torch.tensor(labels))), rel=1e-6
    )


def test_soft_weight_1_ignores_the_labels() -> None:
    student, teacher, objective = logits(7), logits(8), distillation(kl(2.0, 1.0))
    one, other = (objective(student, batch(labels, teacher))[0] for labels in ([0] * 6, [3] * 6))
    assert float(one) == float(other) == float(soft_cross_entropy(student, teacher, 2.0))


def test_a_text_without_a_label_has_only_the_soft_term() -> None:
    student, teacher = logits(9).requires_grad_(), logits(10)
    labels = [0, UNLABELED, 2, UNLABELED, 1, 1]
    loss, _ = distillation(kl(2.0, 0.6))(student, batch(labels, teacher))
    (found,) = torch.autograd.grad(loss, student)
    (soft,) = torch.autograd.grad(0.6 * soft_cross_entropy(student, teacher, 2.0), student)
    unlabelled = [row for row, label in enumerate(labels) if label == UNLABELED]
    torch.testing.assert_close(found[unlabelled], soft[unlabelled])
    assert (found[[0, 2, 4, 5]] - soft[[0, 2, 4, 5]]).abs().max() > 0.01


def test_an_unlabelled_row_does_not_raise_the_weight_of_a_labelled_one() -> None:
    student, teacher = logits(11).requires_grad_(), logits(12)
    gradients = []
    for labels in ([0, 1, 2, 3, 0, 1], [0, *[UNLABELED] * 5]):
        _, parts = distillation(kl(2.0, 0.5))(student, batch(labels, teacher))
        gradients.append(torch.autograd.grad(parts["hard_loss"], student)[0][0])
    torch.testing.assert_close(*gradients)


def test_a_batch_without_labels_still_has_a_gradient() -> None:
    student = logits(13).requires_grad_()
    loss, parts = distillation(kl(2.0, 0.5))(student, batch([UNLABELED] * 6, logits(14)))
    loss.backward()
    assert float(parts["hard_loss"].detach()) == 0
    assert student.grad is not None and student.grad.abs().sum() > 0


@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 2, UNLABELED], [UNLABELED] * 6])
def test_the_loss_of_half_precision_logits_is_float32(labels: list[int]) -> None:
    half, teacher = logits(15).bfloat16(), logits(16)
    loss, parts = distillation(kl(2.0, 0.5))(half, batch(labels, teacher.bfloat16()))
    exact, _ = distillation(kl(2.0, 0.5))(half.float(), batch(labels, teacher.bfloat16().float()))
    assert {value.dtype for value in (loss, *parts.values(), cross_entropy(half, torch.tensor(labels)))} == {
        torch.float32
    }
    assert float(loss) == float(exact)


def test_the_gradient_keeps_its_scale_when_the_temperature_changes() -> None:
    student, teacher = logits(17, 64).requires_grad_(), logits(18, 64)
    norms = [
        float(torch.autograd.grad(soft_cross_entropy(student, teacher, T), student)[0].norm()) for T in (4, 8, 16, 64)
    ]
    assert max(norms) < 1.5 * min(norms)  # without T² they would differ by a factor of 256


def test_distilling_needs_a_teacher() -> None:
    with pytest.raises(ValueError, match=r"^distillation needs teacher logits$"):
        distillation(kl(2.0, 0.5))(logits(0), batch([0] * 6))


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=200))
def test_balanced_weights_are_inverse_to_the_count_and_capped(labels: list[int]) -> None:
    known = [label for label in labels if label != UNLABELED]
    weights = balanced_class_weights(torch.tensor(labels), 4)
    assert weights.dtype == torch.float32
    total = sum(max(1, known.count(label)) for label in range(4))
    expected = [min(10.0, total / (4 * max(1, known.count(label)))) for label in range(4)]
    assert weights.tolist() == pytest.approx(expected, rel=1e-6)


def test_a_rare_class_cannot_rule_the_gradient() -> None:
    weights = balanced_class_weights(torch.tensor([0] * 9999 + [1]), 2)
    assert weights.tolist() == pytest.approx([10_000 / (2 * 9999), 10.0])


# Layers


def states(seed: int, rows: int = 5, layers: int = 3, width: int = 7) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, layers, width)).astype(np.float32))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_the_distance_of_states_is_the_formula_whatever_their_length(seed: int, scale: float) -> None:
    student, teacher = states(seed), states(seed + 1)
    a, b = (values.numpy().astype(np.float64) for values in (student, teacher))
    cosine = (a * b).sum(axis=2) / np.linalg.norm(a, axis=2) / np.linalg.norm(b, axis=2)
    expected = (2 - 2 * cosine).mean()
    assert float(hidden_distance(student, teacher)) == pytest.approx(expected, rel=1e-5)
    assert float(hidden_distance(student * scale, teacher)) == pytest.approx(expected, rel=1e-5)
    assert float(hidden_distance(student, teacher * scale)) == pytest.approx(expected, rel=1e-5)
    assert float(hidden_distance(scale * teacher, teacher)) == pytest.approx(0, abs=1e-6)
    assert float(hidden_distance(-teacher, teacher)) == pytest.approx(4, rel=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_the_distance_of_attention_is_the_formula(seed: int) -> None:
    student, teacher = states(seed).softmax(dim=2), states(seed + 1).softmax(dim=2)
    expected = ((student.numpy() - teacher.numpy()) ** 2).sum(axis=2).mean()
    assert float(attention_distance(student, teacher)) == pytest.approx(expected, rel=1e-5)
    assert float(attention_distance(teacher, teacher)) == 0
    padded = [torch.nn.functional.pad(rows, (0, 4)) for rows in (student, teacher)]
    assert float(attention_distance(*padded)) == pytest.approx(expected, rel=1e-5)


def test_the_terms_of_layers_are_added_with_their_weights_in_float32() -> None:
    answer = Answer(logits(1), states(2, 6).bfloat16(), states(3, 6).softmax(dim=2).bfloat16())
    assert answer.hidden is not None and answer.attention is not None
    of_teacher = states(4, 6), states(5, 6).softmax(dim=2)
    shown = Batch(torch.zeros(1), torch.zeros(1), torch.tensor([0, 1, 2, 3, 0, 1]), logits(6), *of_teacher)
    config = DistillConfig(hidden_weight=3.0, attention_weight=0.5)
    plain, _ = distillation(config)(answer.logits, shown)
    loss, parts = with_layers(distillation(config), config)(answer, shown)
    hidden = hidden_distance(answer.hidden.float(), of_teacher[0])
    attention = attention_distance(answer.attention.float(), of_teacher[1])
    assert (float(parts["hidden_loss"]), float(parts["attention_loss"])) == (float(hidden), float(attention))
    assert float(loss) == pytest.approx(float(plain + 3 * hidden + 0.5 * attention), rel=1e-6)
    assert {value.dtype for value in (loss, *parts.values())} == {torch.float32}
    assert set(parts) == {"soft_loss", "hard_loss", "hidden_loss", "attention_loss"}
