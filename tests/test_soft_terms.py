"""The soft terms: each is its formula, and they stand to one another as the theory says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import entr, log_softmax, logsumexp
from torch import Tensor

from understudy.config import DistillConfig
from understudy.data.task import UNLABELED
from understudy.soft_terms import SOFT_TERMS
from understudy.training.losses import (
    Batch,
    decoupled_terms,
    distillation,
    logit_mse,
    pseudo_label_cross_entropy,
    soft_binary_cross_entropy,
    soft_cross_entropy,
)
from understudy.training.targets import corrected

Floats = NDArray[np.float64]
SEEDS, TEMPERATURES = st.integers(0, 10**6), st.floats(0.5, 20)
LOSSES: list[Any] = list(SOFT_TERMS)


def logits(seed: int, rows: int = 6, classes: int = 4, scale: float = 3) -> Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(scale=scale, size=(rows, classes)).astype(np.float32))


def settings_of(loss: Any, temperature: float = 2.0, **changes: Any) -> DistillConfig:
    read = {"temperature": temperature} if "temperature" in SOFT_TERMS[loss].settings else {}
    return DistillConfig(loss=loss, soft_weight=1.0, **read | changes)


def soft(config: DistillConfig, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
    """The soft term, as a training meets it."""
    labels = torch.full((len(student),), UNLABELED) if labels is None else labels
    return distillation(config)(student, Batch(torch.zeros(1), torch.zeros(1), labels, teacher))[1]["soft_loss"]


def exact(values: Tensor) -> Floats:
    return values.detach().numpy().astype(np.float64)


# By hand, in float64: logits of student and teacher, temperature → loss


def mse_by_hand(student: Floats, teacher: Floats, temperature: float) -> float:
    student, teacher = (values - values.mean(axis=1, keepdims=True) for values in (student, teacher))
    return float(((student - teacher) ** 2).mean())


def bce_by_hand(student: Floats, teacher: Floats, temperature: float) -> float:
    p, total = log_softmax(teacher / temperature, axis=1), 0.0
    for label in range(student.shape[1]):
        others = np.arange(student.shape[1]) != label
        rest = logsumexp(student[:, others] / temperature, axis=1) - logsumexp(student / temperature, axis=1)
        mine = log_softmax(student / temperature, axis=1)[:, label]
        not_p = np.exp(p[:, others]).sum(axis=1)
        total -= float((np.exp(p[:, label]) * mine + not_p * rest).mean())
    return float(temperature**2 * total / student.shape[1])


def hard_by_hand(student: Floats, teacher: Floats, temperature: float) -> float:
    return float(-log_softmax(student, axis=1)[np.arange(len(student)), teacher.argmax(axis=1)].mean())


BY_HAND: dict[str, Callable[[Floats, Floats, float], float]] = {
    "mse": mse_by_hand, "bce": bce_by_hand, "hard": hard_by_hand,
}  # fmt: skip


@pytest.mark.parametrize("loss", BY_HAND)
@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, temperature=TEMPERATURES, rows=st.integers(1, 7), classes=st.integers(2, 6))
def test_a_soft_term_is_its_formula(loss: str, seed: int, temperature: float, rows: int, classes: int) -> None:
    student, teacher = logits(seed, rows, classes), logits(seed + 1, rows, classes)
    found = float(soft(settings_of(loss, temperature), student, teacher))
    expected = BY_HAND[loss](exact(student), exact(teacher), temperature)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-7)  # float32 beside zero


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("classes", [2, 3, 7])
@settings(deadline=None, max_examples=60)
@given(
    seed=SEEDS, temperature=TEMPERATURES, scale=st.sampled_from([0.0, 1.0, 100.0, 1e4]),
    theirs=st.sampled_from([0.0, 1.0, 100.0, 1e4]),
)  # fmt: skip
def test_extreme_logits_have_a_finite_loss_and_gradient(
    loss: str, classes: int, seed: int, temperature: float, scale: float, theirs: float
) -> None:
    """±1e4 and 0, where float32 probabilities are 0 and 1."""
    random = np.random.default_rng(seed)
    student = torch.from_numpy(random.choice([-scale, 0, scale], (5, classes)).astype(np.float32)).requires_grad_()
    teacher = torch.from_numpy(random.choice([-theirs, 0, theirs], (5, classes)).astype(np.float32))
    labels = torch.from_numpy(random.integers(-1, classes, 5))
    found = soft(settings_of(loss, temperature), student, teacher, labels)
    (gradient,) = torch.autograd.grad(found, student)
    assert torch.isfinite(found)
    assert torch.isfinite(gradient).all()
    if loss in BY_HAND:
        expected = BY_HAND[loss](exact(student), exact(teacher), temperature)
        assert float(found.detach()) == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "hard"])
@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, temperature=TEMPERATURES, shift=st.floats(-5, 5))
def test_a_student_that_equals_its_teacher_has_nothing_to_learn(
    loss: str, seed: int, temperature: float, shift: float
) -> None:
    """No gradient, and any other student has a higher loss; a constant added to a row makes no other student."""
    config, teacher = settings_of(loss, temperature), logits(seed)
    student = (teacher + shift).requires_grad_()
    least = soft(config, student, teacher)
    (gradient,) = torch.autograd.grad(least, student)
    assert float(gradient.abs().max()) < 1e-4 * temperature**2
    other = soft(config, teacher + logits(seed + 1, scale=1), teacher)
    assert float(other) > float(least.detach())
    if loss != "bce":  # which has the teacher's entropy in it
        assert float(least.detach()) == pytest.approx(0, abs=1e-4 * temperature**2)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_soft_term_is_a_mean_over_rows_in_float32_and_blind_to_the_order_of_labels(loss: str) -> None:
    config, student, teacher, labels = settings_of(loss), logits(1), logits(2), torch.tensor([0, 1, 2, 3, -1, -1])
    once = float(soft(config, student, teacher, labels))
    assert float(soft(config, student.repeat(3, 1), teacher.repeat(3, 1), labels.repeat(3))) == pytest.approx(once)
    order = torch.tensor([2, 0, 3, 1])
    moved = torch.where(labels < 0, labels, order.argsort()[labels])
    assert float(soft(config, student[:, order], teacher[:, order], moved)) == pytest.approx(once, rel=1e-5)
    half = soft(config, student.bfloat16(), teacher.bfloat16(), labels)
    assert half.dtype == torch.float32
    assert float(half) == float(soft(config, student.bfloat16().float(), teacher.bfloat16().float(), labels))


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(2, 6))
def test_at_a_high_temperature_kl_is_half_of_the_mse(seed: int, classes: int) -> None:
    student, teacher = logits(seed, 9, classes, scale=1), logits(seed + 1, 9, classes, scale=1)
    half = float(logit_mse(student, teacher)) / 2
    assert float(soft_cross_entropy(student, teacher, 60.0)) == pytest.approx(half, rel=0.1, abs=1e-2)


@settings(deadline=None, max_examples=30)
@given(SEEDS, TEMPERATURES)
def test_with_two_labels_bce_is_kl_and_the_teachers_entropy(seed: int, temperature: float) -> None:
    student, teacher = logits(seed, classes=2), logits(seed + 1, classes=2)
    p = np.exp(log_softmax(exact(teacher) / temperature, axis=1))
    expected = float(soft_cross_entropy(student, teacher, temperature)) + temperature**2 * entr(p).sum(axis=1).mean()
    found = float(soft_binary_cross_entropy(student, teacher, temperature))
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5 * temperature**2)


@settings(deadline=None, max_examples=30)
@given(SEEDS)
def test_pseudo_labels_are_what_kl_tends_to_with_a_teacher_that_is_ever_surer(seed: int) -> None:
    student, teacher = logits(seed), logits(seed + 1)
    sure = 1e4 * torch.nn.functional.one_hot(teacher.argmax(dim=1), 4).float()
    expected = float(soft_cross_entropy(student, sure, 1.0))
    assert float(pseudo_label_cross_entropy(student, teacher)) == pytest.approx(expected, rel=1e-5)


@settings(deadline=None, max_examples=40)
@given(SEEDS, TEMPERATURES, st.integers(2, 6))
def test_the_decoupled_terms_add_up_to_kl(seed: int, temperature: float, classes: int) -> None:
    """KL = first + (1 − p_target) · second, row by row (Zhao et al. 2022, equation 7)."""
    student, teacher = logits(seed, 5, classes), logits(seed + 1, 5, classes)
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, classes, 5))
    first, second = map(exact, decoupled_terms(student, teacher, labels, temperature))
    p = np.exp(log_softmax(exact(teacher) / temperature, axis=1))[np.arange(5), labels.numpy()]
    expected = float(soft_cross_entropy(student, teacher, temperature)) / temperature**2
    assert (first + (1 - p) * second).mean() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert classes > 2 or not second.any()


def test_the_decoupled_terms_are_weighted() -> None:
    student, teacher, labels = logits(1), logits(2), torch.tensor([0, 1, 2, 3, 0, 1])
    first, second = (float(term.mean()) for term in decoupled_terms(student, teacher, labels, 2.0))
    for target, other in [(1.0, 0.0), (0.0, 1.0), (0.5, 8.0)]:
        config = settings_of("dkd", target_weight=target, other_weight=other)
        expected = 4 * (target * first + other * second)
        assert float(soft(config, student, teacher, labels)) == pytest.approx(expected, rel=1e-5)


def test_the_target_of_a_text_without_a_label_is_what_the_teacher_chooses() -> None:
    student, teacher, config = logits(1), logits(2), settings_of("dkd")
    chosen = teacher.argmax(dim=1)
    assert float(soft(config, student, teacher)) == float(soft(config, student, teacher, chosen))
    assert float(soft(config, student, teacher, (chosen + 1) % 4)) != float(soft(config, student, teacher, chosen))


# Correcting the teacher


@given(SEEDS, st.lists(st.integers(-1, 3), min_size=1, max_size=9), st.floats(0.1, 10))
def test_a_corrected_teacher_chooses_the_gold_label_and_is_as_sure(seed: int, gold: list[int], scale: float) -> None:
    before, labels = logits(seed, len(gold)).numpy(), np.array(gold, dtype=np.int64)
    untouched = before.copy()
    after = corrected(before, labels)
    assert np.array_equal(before, untouched)
    labelled = labels != UNLABELED
    assert np.array_equal(after[labelled].argmax(axis=1), labels[labelled])
    assert np.array_equal(np.sort(after, axis=1), np.sort(before, axis=1))
    right = ~labelled | (before.argmax(axis=1) == labels)
    assert np.array_equal(after[right], before[right])
    others = np.ones_like(before, dtype=bool)  # neither the gold label nor the one that the teacher chose
    others[np.arange(len(gold)), labels] = others[np.arange(len(gold)), before.argmax(axis=1)] = False
    assert np.array_equal(after[others], before[others])
    assert np.array_equal(corrected(after, labels), after)
    np.testing.assert_allclose(corrected(before * np.float32(scale), labels), after * np.float32(scale), rtol=1e-6)
