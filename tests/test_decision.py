from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax as scipy_log_softmax

from understudy.data.task import UNLABELED
from understudy.decision import TEMPERATURES, fit_temperature, log_softmax, softmax
from understudy.errors import WorkError

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def logits_like(seed: int, rows: int, classes: int, scale: float = 3.0) -> Floats:
    return np.random.default_rng(seed).normal(scale=scale, size=(rows, classes))


def drawn_labels(probabilities: Floats, seed: int) -> Labels:
    """One label for each row, drawn from its probabilities."""
    ceiling = np.random.default_rng(seed).random((len(probabilities), 1))
    return (probabilities.cumsum(axis=1) > ceiling).argmax(axis=1)


def nll(logits: Floats, labels: Labels, temperature: float) -> float:
    return float(-scipy_log_softmax(logits / temperature, axis=1)[np.arange(len(labels)), labels].mean())


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.floats(0.05, 20), st.floats(0.01, 1000))
def test_probabilities_sum_to_one_and_keep_the_order(seed: int, classes: int, temperature: float, scale: float) -> None:
    logits = logits_like(seed, 5, classes, scale)
    probabilities = softmax(logits, temperature)
    assert probabilities.dtype == np.float64
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), logits.argmax(axis=1))


@settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 20), st.floats(-1e6, 1e6))
def test_softmax_is_the_exponential_of_log_softmax_and_ignores_a_shift(
    seed: int, temperature: float, shift: float
) -> None:
    logits = logits_like(seed, 4, 6)
    expected = scipy_log_softmax(logits / temperature, axis=1)
    np.testing.assert_allclose(log_softmax(logits, temperature), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(softmax(logits, temperature), np.exp(expected), rtol=1e-9)
    np.testing.assert_allclose(softmax(logits + shift, temperature), np.exp(expected), rtol=1e-6, atol=1e-12)


def test_a_higher_temperature_is_less_sure() -> None:
    confidences = [softmax(logits_like(0, 50, 4), temperature).max(axis=1) for temperature in (0.5, 1, 2, 8)]
    assert (np.diff(confidences, axis=0) < 0).all()


def test_log_softmax_stays_finite_where_softmax_underflows() -> None:
    assert softmax([[0.0, 2000.0]])[0, 0] == 0
    assert log_softmax([[0.0, 2000.0]])[0, 0] == -2000


@pytest.mark.parametrize("classes", [1, 2, 3, 6, 7, 8, 9, 20, 77, 150])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("function", [softmax, log_softmax])
def test_a_row_has_the_same_bytes_alone_and_in_any_batch(
    classes: int, dtype: type, function: Callable[..., Floats]
) -> None:
    logits = logits_like(1, 67, classes).astype(dtype)
    whole = function(logits, 1.7)
    for batch in (1, 2, 5, 64):
        pieces = [function(logits[start : start + batch], 1.7) for start in range(0, len(logits), batch)]
        assert np.concatenate(pieces).tobytes() == whole.tobytes()
    assert function(np.asfortranarray(logits), 1.7).tobytes() == whole.tobytes()
    assert function(logits[::-1], 1.7)[::-1].tobytes() == whole.tobytes()


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_is_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match=f"^temperature must be positive, got {temperature}$"):
        softmax([[1.0, 2.0]], temperature)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.5])
def test_the_temperature_of_calibrated_logits_is_recovered(temperature: float) -> None:
    calibrated = logits_like(2, 20_000, 4, scale=1.5)
    labels = drawn_labels(softmax(calibrated), seed=3)
    assert fit_temperature(calibrated * temperature, labels) == pytest.approx(temperature, rel=0.03)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(0.05, 20))
def test_no_other_temperature_has_a_lower_nll(seed: int, classes: int, sharpness: float) -> None:
    logits = logits_like(seed, 40, classes) * sharpness
    labels = drawn_labels(softmax(logits, sharpness), seed)
    fitted = nll(logits, labels, fit_temperature(logits, labels))
    if (logits.argmax(axis=1) == labels).all():  # nothing to fit
        return
    low, high = np.log(TEMPERATURES)
    best = minimize_scalar(lambda log_t: nll(logits, labels, np.exp(log_t)), bounds=(low, high), method="bounded")
    assert fitted <= nll(logits, labels, 1.0) + 1e-12
    assert fitted <= best.fun + 1e-12


def test_rows_that_say_nothing_leave_the_temperature_at_one() -> None:
    logits = logits_like(4, 30, 3)
    assert fit_temperature(logits, logits.argmax(axis=1)) == 1
    assert fit_temperature(np.ones((5, 3)), np.arange(5) % 3) == 1
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)) == 1
    assert fit_temperature(logits, np.full(30, UNLABELED)) == 1


def test_the_temperature_stays_within_its_bounds() -> None:
    logits = logits_like(5, 300, 3)
    assert fit_temperature(logits, logits.argmin(axis=1)) == pytest.approx(TEMPERATURES[1])
    nearly_right = np.where(np.arange(300) == 0, (logits.argmax(axis=1) + 1) % 3, logits.argmax(axis=1))
    logits[0] *= 1e-6  # wrong, but by next to nothing
    assert fit_temperature(logits, nearly_right) == pytest.approx(TEMPERATURES[0])


def test_unlabelled_rows_do_not_move_the_temperature() -> None:
    logits = logits_like(6, 200, 3)
    labels = drawn_labels(softmax(logits, 2.0), seed=7)
    labels[::3] = UNLABELED
    labelled = labels != UNLABELED
    assert fit_temperature(logits, labels) == fit_temperature(logits[labelled], labels[labelled])


def test_a_temperature_is_not_fitted_to_broken_logits() -> None:
    logits = np.array([[1.0, 2.0], [np.nan, 0.0]])
    sentence = "cannot fit a temperature: some logits are not finite; check the model that made them"
    with pytest.raises(WorkError, match=f"^{re.escape(sentence)}$"):
        fit_temperature(logits, np.array([0, 1]))
    assert fit_temperature(logits, np.array([0, UNLABELED])) > 1
