"""Structured pruning: the heads and feed-forward units that a trained student needs least leave it; then it recovers.

The importance of a head or unit with the output a, read by the next matrix, is the first-order estimate of what its
absence does to the loss that the student was trained with, a mean over texts of |Σ a · ∂L/∂a|: equation 2 of Michel,
Levy and Neubig 2019 (for heads; Molchanov et al. 2017 for units). As many leave every layer, so that one number in the
config says how wide the layers are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import RecipeError
from ..sections import PruningConfig
from . import narrowing
from .loop import Examples, choose_device, collate
from .losses import Objective
from .narrowing import Group

_TEXTS = 2048  # that importance is a mean over


def plan_removal(model: Any, config: PruningConfig) -> dict[str, dict[str, int]]:
    """What is kept of the heads and units of each layer; raises RecipeError if that cannot be, before any training."""
    shares = {"heads": config.prune_heads, "units": config.prune_units}
    plan = {}
    for what, share in shares.items():
        if share:
            count = narrowing.groups(model, what)[0].count
            kept = max(1, round(count * (1 - share)))
            if kept == count:
                raise RecipeError(f"prune_{what} = {share:g} removes none of a layer's {count} {what}; raise it")
            narrowing.rehearse(model, what, kept)
            plan[what] = {"kept": kept, "of": count}
    return plan


def prune(
    module: Any,
    plan: dict[str, dict[str, int]],
    examples: Examples,
    objective: Objective,
    config: PruningConfig,
    *,
    pad_id: int,
    seed: int,
) -> None:
    """Take the least important heads and units out of every layer, in place, as many as planned."""
    device = choose_device(config.device)
    module.to(device).eval()
    parts = {what: narrowing.groups(module.model, what) for what in plan}
    every = [group for found in parts.values() for group in found]
    scores = iter(importance(module, every, _sample(examples, seed), objective, config.batch_size, pad_id, device))
    for what, found in parts.items():
        best = [np.argsort(-next(scores), kind="stable")[: plan[what]["kept"]] for _ in found]
        narrowing.remove(module.model, found, [sorted(map(int, kept)) for kept in best])
    module.cpu()


def importance(
    module: nn.Module,
    parts: Sequence[Group],
    examples: Examples,
    objective: Objective,
    batch_size: int,
    pad_id: int,
    device: torch.device,
) -> list[NDArray[np.float64]]:
    """The importance (count,) of each head or unit of every group; of what is known at once, only the order matters."""
    totals = [torch.zeros(group.count, dtype=torch.float64) for group in parts]
    read: dict[int, Tensor] = {}
    handles = [
        group.reader.register_forward_pre_hook(lambda _, given, index=index: read.update({index: given[0]}))
        for index, group in enumerate(parts)
    ]
    try:
        order = np.argsort([len(row) for row in examples.tokens], kind="stable")
        for start in range(0, len(order), batch_size):
            batch = collate(examples, order[start : start + batch_size], pad_id, device)
            loss, _ = objective(module(batch.ids, batch.mask), batch)
            given = [read[index] for index in range(len(parts))]
            rows = len(batch.ids)
            for total, group, output, slope in zip(totals, parts, given, torch.autograd.grad(loss, given), strict=True):
                felt = (output * slope).detach().sum(dim=1).view(rows, group.count, group.size).sum(dim=2)
                total += rows * felt.abs().sum(dim=0).double().cpu()  # the loss is a mean over the rows
    finally:
        for handle in handles:
            handle.remove()
    return [total.numpy() for total in totals]


def _sample(examples: Examples, seed: int) -> Examples:
    rows = np.sort(np.random.default_rng(seed).permutation(len(examples.tokens))[:_TEXTS])
    teacher = None if examples.teacher is None else examples.teacher[rows]
    return Examples([examples.tokens[row] for row in rows], examples.labels[rows], teacher)
