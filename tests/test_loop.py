"""The one loop: what an epoch shows, how it steps, and which epoch's weights stay."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from training_kit import CPU, ROWS, STEPS, TRAIN, VAL, equal, network, train
from understudy.config import DistillConfig
from understudy.errors import InputError, WorkError
from understudy.training import loop, networks
from understudy.training.loop import infer
from understudy.training.losses import Batch, distillation, supervised


@pytest.fixture
def steps() -> Iterator[list[dict[str, Any]]]:
    """What the optimiser saw at every step: learning rate, gradient norm, groups."""
    seen: list[dict[str, Any]] = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = float(torch.cat([gradient.flatten() for gradient in gradients]).norm())
        seen.append({"lr": optimizer.param_groups[0]["lr"], "norm": norm, "groups": optimizer.param_groups})

    handle = register_optimizer_step_pre_hook(note)
    yield seen
    handle.remove()


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def scripted(monkeypatch: pytest.MonkeyPatch, **scores: list[float]) -> None:
    """Validation scores by epoch."""
    epochs = iter(range(10))

    def validate(logits: object, labels: object) -> dict[str, float]:
        epoch = next(epochs)
        return {"nll": 1.0, "accuracy": 0.5, "macro_f1": 0.5, "macro_recall": 0.5} | {
            name: values[epoch] for name, values in scores.items()
        }

    monkeypatch.setattr(loop, "validate", validate)


def test_it_learns(tmp_path: Path) -> None:
    _, result = train(tmp_path, epochs=12, dropout=0.0)
    assert result.history[-1]["loss"] < 0.5 * result.history[0]["loss"]


@pytest.mark.parametrize(("patience", "epochs"), [(0, 6), (1, 3), (2, 6), (3, 6)])
def test_patience_ends_a_training_that_no_longer_improves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int, epochs: int
) -> None:
    scripted(monkeypatch, nll=[0.9, 0.5, 0.6, 0.4, 0.7, 0.8])
    _, result = train(tmp_path, epochs=6, patience=patience)
    assert len(result.history) == epochs
    assert result.best_epoch == (2 if epochs == 3 else 4)


@pytest.mark.parametrize("metric", ["nll", "accuracy", "macro_f1", "macro_recall"])
def test_the_weights_of_the_best_epoch_by_the_chosen_metric_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    best = {"nll": 1, "accuracy": 2, "macro_f1": 3, "macro_recall": 4}
    scores = {name: [float(epoch == at) for epoch in range(1, 5)] for name, at in best.items()}
    scores["nll"] = [0.1, 0.5, 0.6, 0.7]
    with monkeypatch.context() as patch:
        scripted(patch, **scores)
        found, result = train(tmp_path / "four", epochs=4, stop_metric=metric, schedule="constant", warmup=0)
    assert result.best_epoch == best[metric]
    with monkeypatch.context() as patch:
        scripted(patch, nll=[4, 3, 2, 1])
        stopped, _ = train(tmp_path / "stopped", epochs=best[metric], schedule="constant", warmup=0)
    assert equal(found, stopped)


def test_the_final_model_scores_what_its_best_epoch_scored(tmp_path: Path) -> None:
    model = network()
    _, result = train(tmp_path, model, epochs=6, learning_rate=0.05)
    losses = [epoch["val_nll"] for epoch in result.history]
    again = loop.validate(infer(model, VAL.tokens, 0, CPU), VAL.labels)
    assert losses.index(min(losses)) + 1 == result.best_epoch < 6  # a rate so high that the last one is not the best
    assert again["nll"] == min(losses)
    assert not model.training


def test_the_learning_rate_follows_its_schedule(tmp_path: Path, steps: list[dict[str, Any]]) -> None:
    total, warm = 3 * STEPS, round(0.25 * 3 * STEPS)
    last = (total - 1 - warm) / (total - warm)
    ends = {"constant": 1.0, "linear": 1 - last, "cosine": 0.5 * (1 + math.cos(math.pi * last))}
    for schedule, end in ends.items():
        steps.clear()
        train(tmp_path / schedule, schedule=schedule, warmup=0.25, learning_rate=1e-3)
        rates = [step["lr"] for step in steps]
        assert len(rates) == total
        assert rates[:warm] == pytest.approx([1e-3 * (n + 1) / warm for n in range(warm)])
        assert rates[warm] == pytest.approx(1e-3)
        assert rates[-1] == pytest.approx(1e-3 * end)
    train(tmp_path / "cold", warmup=0, epochs=1, learning_rate=1e-3)
    assert steps[-STEPS]["lr"] == pytest.approx(1e-3)


def test_a_plateau_halves_the_learning_rate_until_patience_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[dict[str, Any]]
) -> None:
    scripted(monkeypatch, nll=[0.9, 0.5, 0.6, 0.4, 0.7, 0.8, 0.1])
    _, result = train(tmp_path, epochs=7, schedule="plateau", patience=2, warmup=0, learning_rate=4e-3)
    assert [step["lr"] for step in steps[::STEPS]] == pytest.approx([4e-3, 4e-3, 4e-3, 2e-3, 2e-3, 1e-3])
    assert [epoch["learning_rate"] for epoch in result.history] == pytest.approx([4e-3, 4e-3, 4e-3, 2e-3, 2e-3, 1e-3])
    assert result.best_epoch == 4


def test_the_average_of_the_weights_is_what_is_validated_and_kept(tmp_path: Path) -> None:
    model = network()
    walk = [weights(model)]
    handle = register_optimizer_step_post_hook(lambda *_: walk.append(weights(model)))
    _, result = train(tmp_path, model, epochs=2, ema=0.9)
    handle.remove()
    mean, ends = walk[0], []
    for step, after in enumerate(walk[1:], 1):
        decay = min(0.9, (1 + step) / (10 + step))
        mean = {name: decay * mean[name] + (1 - decay) * after[name] for name in mean}
        ends += [mean] if step % STEPS == 0 else []
    kept, expected = weights(model), ends[result.best_epoch - 1]
    assert all(torch.allclose(kept[name], expected[name], atol=1e-6) for name in kept)
    assert not equal(kept, walk[-1])
    scores = loop.validate(infer(model, VAL.tokens, 0, CPU), VAL.labels)
    assert scores["nll"] == result.history[result.best_epoch - 1]["val_nll"]


def test_the_gradient_is_clipped_to_a_norm(tmp_path: Path, steps: list[dict[str, Any]]) -> None:
    train(tmp_path / "clipped", clip=0.05, epochs=1)
    clipped = [step["norm"] for step in steps]
    train(tmp_path / "free", clip=0, epochs=1)
    assert max(clipped) <= 0.0501
    assert steps[STEPS]["norm"] > 0.1


def test_biases_and_norms_do_not_decay(tmp_path: Path, steps: list[dict[str, Any]]) -> None:
    model = network()
    train(tmp_path, model, weight_decay=0.3, epochs=1)
    decays = {id(p): group["weight_decay"] for group in steps[0]["groups"] for p in group["params"]}
    named = {name: decays[id(parameter)] for name, parameter in model.named_parameters()}
    assert {name for name, decay in named.items() if decay == 0} == {
        name for name in named if name.endswith(".bias") or "LayerNorm" in name
    }
    assert set(named.values()) == {0.0, 0.3}


def test_a_frozen_encoder_keeps_its_weights(tmp_path: Path) -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    networks.freeze_encoder(model)
    after, _ = train(tmp_path, model, epochs=1)
    assert {name for name in after if not torch.equal(after[name], before[name])} == {
        "model.classifier.weight", "model.classifier.bias",
    }  # fmt: skip


def test_inference_keeps_the_order_and_padding_changes_nothing() -> None:
    model = network()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    one, many = (infer(model, TRAIN.tokens, 0, CPU, size) for size in (1, 64))
    np.testing.assert_allclose(one, many, atol=1e-5)
    direct = np.concatenate([infer(model, [row], 0, CPU) for row in TRAIN.tokens])
    np.testing.assert_array_equal(one, direct)
    assert len(np.unique(one.round(4), axis=0)) > ROWS // 2  # an order can be told


def test_an_epoch_shows_every_row_once_in_batches_of_similar_length(tmp_path: Path) -> None:
    seen: list[Batch] = []

    def watching(logits: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        seen.append(batch)
        return supervised()(logits, batch)

    train(tmp_path, objective=watching, epochs=2)
    assert len(seen) == 2 * STEPS
    shown = [[tuple(ids[mask.bool()].tolist()) for b in part for ids, mask in zip(b.ids, b.mask, strict=True)]
             for part in (seen[:STEPS], seen[STEPS:])]  # fmt: skip
    assert sorted(shown[0]) == sorted(shown[1]) == sorted(tuple(row.tolist()) for row in TRAIN.tokens)
    assert shown[0] != shown[1]
    padding = 1 - sum(int(b.mask.sum()) for b in seen) / sum(b.mask.numel() for b in seen)
    assert padding < 0.15
    widths = [b.ids.shape[1] for b in seen[:STEPS]]
    assert widths != sorted(widths)


def test_the_history_has_the_parts_of_the_loss_and_the_scores(tmp_path: Path) -> None:
    _, result = train(tmp_path, objective=distillation(DistillConfig(temperature=2.0, soft_weight=0.25)), epochs=2)
    for number, epoch in enumerate(result.history, 1):
        assert epoch["epoch"] == number
        assert epoch["loss"] == pytest.approx(0.25 * epoch["soft_loss"] + 0.75 * epoch["hard_loss"], rel=1e-5)
        assert {"val_nll", "val_accuracy", "val_macro_f1", "val_macro_recall", "learning_rate"} < epoch.keys()


def test_what_is_called_after_an_epoch_sees_its_record_and_may_end_the_training(tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    _, run = train(tmp_path / "whole", after_epoch=lambda record: seen.append(dict(record)))
    assert seen == run.history

    class EnoughError(Exception):
        pass

    def stop(record: Mapping[str, float]) -> None:
        if record["epoch"] == 2:
            raise EnoughError

    with pytest.raises(EnoughError):
        train(tmp_path / "stopped", after_epoch=stop)
    saved = loop.checkpoint.load_checkpoint(tmp_path / "stopped" / "checkpoint.safetensors")
    assert saved is not None
    assert saved[0]["history"] == run.history[:2]


def test_a_loss_that_is_not_a_number_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(WorkError) as error:
        train(tmp_path / "loss", objective=lambda z, b: (z.sum() * math.nan, {}))
    assert str(error.value) == "the training loss became nan; lower learning_rate (now 0.005)"
    with pytest.raises(WorkError) as error:  # the weights leave the range in the very last step
        train(tmp_path / "val", epochs=1, batch_size=ROWS, learning_rate=1e38, warmup=0, clip=0)
    assert str(error.value) == "the validation loss became nan; lower learning_rate (now 1e+38)"


def test_bf16_trains_other_weights(tmp_path: Path) -> None:
    exact, _ = train(tmp_path / "fp32", epochs=1)
    rough, _ = train(tmp_path / "bf16", epochs=1, precision="bf16")
    assert not equal(exact, rough)
    assert {tensor.dtype for tensor in rough.values() if tensor.is_floating_point()} == {torch.float32}


def test_an_unknown_device_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^device 'nonsense' cannot be used here: [^\n]+$"):
        train(tmp_path, device="nonsense")
