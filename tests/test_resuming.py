"""A training can be interrupted at any moment: started again, it ends with the weights of an undisturbed one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training_kit import STEPS, Failing, PowerCutError, equal, network, train
from understudy.config import DistillConfig
from understudy.training import checkpoint, loop
from understudy.training.losses import distillation


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every step."""
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint.Checkpoints, "due", lambda self: True)


def test_the_same_seed_gives_the_same_weights_and_another_one_others(tmp_path: Path) -> None:
    first, _ = train(tmp_path / "a")
    assert equal(first, train(tmp_path / "b")[0])
    assert not equal(first, train(tmp_path / "c", seed=4)[0])


@pytest.mark.parametrize(
    ("seed", "changes"),
    [
        (0, {}),
        (1, {}),
        (0, {"ema": 0.8}),
        (0, {"schedule": "plateau", "patience": 3, "learning_rate": 0.1}),
    ],
)
@pytest.mark.usefixtures("eager")
def test_an_interrupted_training_ends_with_the_weights_of_an_undisturbed_one(
    tmp_path: Path, seed: int, changes: dict[str, Any]
) -> None:
    objective = distillation(DistillConfig(temperature=2.0, soft_weight=0.5))
    expected, whole = train(tmp_path / "whole", objective=objective, **changes)
    assert whole.stalls or "schedule" not in changes
    random, done = np.random.default_rng(seed), 0
    for attempt in range(6):
        progress = Failing(int(random.integers(2, 6)))
        with pytest.raises(PowerCutError):  # later attempts begin with other weights, which must not matter
            train(tmp_path / "broken", network(seed=attempt), objective, progress, **changes)
        assert progress.resumed == done
        done = _steps_in(tmp_path / "broken")
    found, pieced = train(tmp_path / "broken", network(seed=99), objective, **changes)
    assert 0 < done < 3 * STEPS
    assert equal(found, expected)
    assert pieced.history == whole.history
    assert (pieced.best_epoch, pieced.best_score) == (whole.best_epoch, whole.best_score)


def _steps_in(work: Path) -> int:
    saved = checkpoint.load_checkpoint(work / "checkpoint.safetensors")
    assert saved is not None
    return int(saved[0]["epochs_done"] * STEPS + saved[0]["batch"])


@pytest.mark.usefixtures("eager")
def test_an_interruption_while_validating_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, whole = train(tmp_path / "whole")

    def cut_power(logits: object, labels: object) -> dict[str, float]:
        raise PowerCutError

    with monkeypatch.context() as patch, pytest.raises(PowerCutError):
        patch.setattr(loop, "validate", cut_power)
        train(tmp_path / "broken")
    assert _steps_in(tmp_path / "broken") == STEPS
    found, pieced = train(tmp_path / "broken", network(seed=99))
    assert equal(found, expected)
    assert pieced.history == whole.history


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    expected, _ = train(tmp_path)
    progress = Failing(10**6)
    assert equal(train(tmp_path, network(seed=99), progress=progress)[0], expected)
    assert progress.resumed == 3 * STEPS
