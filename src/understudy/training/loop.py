"""The one training loop: teacher, student and control differ by their targets, objective and config."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..config import OptimizationConfig
from ..data.task import Labels
from ..errors import InputError, WorkError, first_line
from ..machine import available_cores, instruction_set
from ..progress import Progress
from ..tokenization import Tokens
from . import checkpoint
from .averaging import Average
from .batches import LayerTargets, epoch_batches, longest_first, pad
from .losses import Batch, Objective
from .validation import validate

AfterEpoch = Callable[[Mapping[str, float]], None]
Judge = Callable[[NDArray[np.float32], Labels], dict[str, float]]


@dataclass(frozen=True)
class Examples:
    """Tokenized texts with their targets; `teacher` holds logits (n, labels) when distilling."""

    tokens: Sequence[Tokens]
    labels: Labels
    teacher: NDArray[np.float32] | None = None
    layers: LayerTargets | None = None


@dataclass
class Fit:
    """What a training leaves behind, beside the weights."""

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = -math.inf
    epochs_done: int = 0
    batch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    stalls: int = 0  # epochs that were no improvement


def fit(
    model: nn.Module,
    train: Examples,
    val: Examples,
    objective: Objective,
    config: OptimizationConfig,
    *,
    seed: int,
    pad_id: int,
    work: Path,
    progress: Progress,
    description: str,
    after_epoch: AfterEpoch = lambda record: None,
    keep: Callable[[int], None] = lambda epoch: None,
    judge: Judge | None = None,
) -> Fit:
    """Train `model` in place and leave it with the weights of its best epoch on validation.

    `judge` scores what the model gives for `val`, by default as a classifier's logits. Goes on from a checkpoint in
    `work`, to weights equal to those of an undisturbed run. `after_epoch` may raise; `keep` sees the model with the
    weights of every epoch, after a kill perhaps twice.
    """
    device = choose_device(config.device)
    model.to(device)
    steps = math.ceil(len(train.tokens) / config.batch_size)
    optimizer, schedule = make_optimizer(model, config, steps * config.epochs)
    average = Average(model, config.ema)
    torch.manual_seed(seed)
    run, best = Fit(), _copy(model)
    saved = checkpoint.load_checkpoint(work / "checkpoint.safetensors")
    if saved is not None:
        run, best = _restore(saved, model, optimizer, average, device)
    checkpoints = checkpoint.Checkpoints(work / "checkpoint.safetensors", model, optimizer, average, device)
    started = time.perf_counter() - run.seconds

    with progress.track(description, steps * config.epochs) as advance:
        advance(run.epochs_done * steps + run.batch)
        while run.epochs_done < config.epochs and not _out_of_patience(run, config):
            model.train()
            plan = epoch_batches(train.tokens, config.batch_size, seed, run.epochs_done)
            for rows in plan[run.batch :]:
                batch = collate(train, rows, pad_id, device)
                learning_rate = schedule(run.epochs_done * steps + run.batch) * _slowed(run, config)
                parts = train_step(model, batch, objective, optimizer, learning_rate, config, device)
                average.update(run.epochs_done * steps + run.batch + 1)
                for name, value in parts.items():
                    run.sums[name] = run.sums.get(name, 0.0) + value * len(rows)
                run.batch += 1
                advance(1)
                run.seconds = time.perf_counter() - started
                if checkpoints.due():
                    checkpoints.save(vars(run), best)
            # of its last step; not set if all its steps were restored
            learning_rate = schedule((run.epochs_done + 1) * steps - 1) * _slowed(run, config)
            with average.in_place():
                scores = (judge or validate)(infer(model, val.tokens, pad_id, device), val.labels)
                best = _close_epoch(run, model, scores, best, config, len(train.tokens), learning_rate)
                run.seconds = time.perf_counter() - started
                keep(run.epochs_done)
            checkpoints.save(vars(run), best)
            after_epoch(run.history[-1])

    model.load_state_dict(best)
    model.eval()
    return run


def infer(
    model: nn.Module,
    tokens: Sequence[Tokens],
    pad_id: int,
    device: torch.device,
    batch_size: int = 64,
    advance: Callable[[int], None] = lambda units: None,
) -> NDArray[np.float32]:
    """Logits (n, labels) in input order; length-sorted batches inside."""
    model.eval()
    batches = longest_first(tokens, batch_size)
    results: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        for rows in batches:
            ids, mask = pad([tokens[row] for row in rows], pad_id)
            results.append(model(ids.to(device), mask.to(device)).float().cpu().numpy())
            advance(len(ids))
    logits = np.concatenate(results)
    restored = np.empty_like(logits)
    restored[np.concatenate(batches)] = logits
    return restored


def choose_device(name: str) -> torch.device:
    """The named device, or for `auto` the best that is there; also gives torch the cores that we may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    torch.set_num_threads(min(available_cores(), max(1, int(wanted))) if wanted.isdecimal() else available_cores())
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here: {first_line(error)}") from None
    return device


def collate(examples: Examples, rows: NDArray[np.int64], pad_id: int, device: torch.device) -> Batch:
    """Pad the chosen rows to their longest and move them to the device."""
    ids, mask = pad([examples.tokens[row] for row in rows], pad_id)
    teacher = None if examples.teacher is None else torch.from_numpy(examples.teacher[rows]).to(device)
    labels = torch.from_numpy(examples.labels[rows])
    hidden, attention = examples.layers.batch(rows, ids.shape[1], device) if examples.layers else (None, None)
    return Batch(ids.to(device), mask.to(device), labels.to(device), teacher, hidden, attention)


def train_step(
    model: nn.Module,
    batch: Batch,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    learning_rate: float,
    config: OptimizationConfig,
    device: torch.device,
) -> dict[str, float]:
    """One optimiser step; returns the loss and its parts. Raises WorkError for a loss that is not finite."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    with torch.autocast(device.type, torch.bfloat16, enabled=_use_bf16(config, device)):
        answer = model(batch.ids, batch.mask)
    loss, parts = objective(answer, batch)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise WorkError(f"the training loss became {value}; lower learning_rate (now {config.learning_rate:g})")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if config.clip:
        nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    optimizer.step()
    return {"loss": value, **{name: float(part.detach()) for name, part in parts.items()}}


def _use_bf16(config: OptimizationConfig, device: torch.device) -> bool:
    """bf16 where the device multiplies it faster; a CPU with AVX512-BF16 trains MiniLM 1.6 times as fast with it."""
    if config.precision != "auto":
        return config.precision == "bf16"
    if device.type == "cpu":
        return bool({"avx512_bf16", "amx_bf16"} & set(instruction_set()))
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def make_optimizer(
    model: nn.Module, config: OptimizationConfig, total: int
) -> tuple[torch.optim.AdamW, Callable[[int], float]]:
    """AdamW without decay on biases and norms, and the learning rate by step."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=trainable[0].device.type in ("cpu", "cuda"))
    warmup = max(1, round(total * config.warmup)) if config.warmup else 0

    def learning_rate(step: int) -> float:
        if step < warmup:
            return config.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(1, total - warmup)
        factor = {"linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}
        return config.learning_rate * factor.get(config.schedule, 1.0)

    return optimizer, learning_rate


def _close_epoch(
    run: Fit,
    model: nn.Module,
    scores: Mapping[str, float],
    best: dict[str, Tensor],
    config: OptimizationConfig,
    rows: int,
    learning_rate: float,
) -> dict[str, Tensor]:
    """Record the epoch with its validation scores, and return the best weights so far."""
    if not math.isfinite(scores["nll"]):
        raise WorkError(
            f"the validation loss became {scores['nll']}; lower learning_rate (now {config.learning_rate:g})"
        )
    record = {"epoch": float(run.epochs_done + 1), **{name: total / rows for name, total in run.sums.items()}}
    run.history.append(
        record | {f"val_{name}": value for name, value in scores.items()} | {"learning_rate": learning_rate}
    )
    run.epochs_done, run.batch, run.sums = run.epochs_done + 1, 0, {}
    score = -scores["nll"] if config.stop_metric == "nll" else scores[config.stop_metric]
    if score > run.best_score:
        run.best_score, run.best_epoch = score, run.epochs_done
        return _copy(model)
    run.stalls += 1
    return best


def _slowed(run: Fit, config: OptimizationConfig) -> float:
    """What a plateau leaves of the learning rate: half of it for each epoch that was no improvement."""
    return 0.5**run.stalls if config.schedule == "plateau" else 1.0


def _out_of_patience(run: Fit, config: OptimizationConfig) -> bool:
    return bool(config.patience) and run.epochs_done - run.best_epoch >= config.patience


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _restore(
    saved: tuple[dict[str, Any], dict[str, Tensor]],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Average,
    device: torch.device,
) -> tuple[Fit, dict[str, Tensor]]:
    state, tensors = saved
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        group, key = name.split("/", 1)
        groups.setdefault(group, {})[key] = tensor
    model.load_state_dict(groups["model"])
    checkpoint.restore_optimizer(model, optimizer, groups["optimizer"])
    average.restore(groups.get("average", {}))
    checkpoint.restore_random_state(device, groups["random"])
    return Fit(**state), {name: tensor.to(device) for name, tensor in groups["best"].items()}
