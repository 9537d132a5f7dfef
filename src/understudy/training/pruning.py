"""Structured pruning: the heads, feed-forward units or filters that a trained student needs least leave; it recovers.

The importance of a part with the output a, read by the next matrix, is the first-order estimate of what its absence
does to the loss that the student was trained with, a mean over texts of |Σ a · ∂L/∂a|: equation 2 of Michel, Levy and
Neubig 2019 (for heads; Molchanov et al. 2017 for units and filters; a filter's output is its maximum over the words).
As many leave every layer or kernel size, so that one number in the config says how wide they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..distill_settings import Pruning
from ..errors import RecipeError
from . import narrowing
from .hub_classifier import HubClassifier
from .loop import Examples, choose_device, collate
from .losses import Objective
from .narrowing import Group
from .textcnn import TextCNN

_TEXTS = 2048  # that importance is a mean over


def plan_removal(module: Any, config: Pruning) -> dict[str, dict[str, int]]:
    """What is kept of each layer or kernel size; raises RecipeError if that cannot be, before any training."""
    plan = {}
    for what, share in config.shares.items():
        count = module.filters if isinstance(module, TextCNN) else narrowing.groups(module.model, what)[0].count
        kept = max(1, round(count * (1 - share)))
        if kept == count:
            where = "kernel size" if what == "filters" else "layer"
            raise RecipeError(f"prune_{what} = {share:g} removes none of a {where}'s {count} {what}; raise it")
        if isinstance(module, HubClassifier):
            narrowing.rehearse(module.model, what, kept)
        plan[what] = {"kept": kept, "of": count}
    return plan


def prune(
    module: Any,
    plan: dict[str, dict[str, int]],
    examples: Examples,
    objective: Objective,
    config: Pruning,
    *,
    pad_id: int,
    seed: int,
) -> None:
    """Take the least important parts out of every layer or kernel size, in place, as many as planned."""
    device = choose_device(config.device)
    module.to(device).eval()
    parts = {what: _groups(module, what) for what in plan}
    every = [group for found in parts.values() for group in found]
    scores = iter(importance(module, every, _sample(examples, seed), objective, config.batch_size, pad_id, device))
    for what, found in parts.items():
        importances = [next(scores) for _ in found]
        if what == "filters":  # one group of them all
            importances = np.split(importances[0], len(module.kernels))
        best = [np.argsort(-each, kind="stable")[: plan[what]["kept"]] for each in importances]
        stay = [sorted(map(int, kept)) for kept in best]
        if what == "filters":
            module.keep(stay)
        else:
            narrowing.remove(module.model, found, stay)
    module.cpu()


def _groups(module: Any, what: str) -> list[Group]:
    """The heads or units of every layer; the filters of all kernel sizes, whose maxima the classifier reads, as one."""
    return [Group(what, (), module.classifier, 1)] if what == "filters" else narrowing.groups(module.model, what)


def importance(
    module: nn.Module,
    parts: Sequence[Group],
    examples: Examples,
    objective: Objective,
    batch_size: int,
    pad_id: int,
    device: torch.device,
) -> list[NDArray[np.float64]]:
    """The importance (count,) of each part of every group; of what is known at once, only the order matters."""
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
                words = (output * slope).detach().view(rows, -1, group.count * group.size)  # filters have one maximum
                felt = words.sum(dim=1).view(rows, group.count, group.size).sum(dim=2)
                total += rows * felt.abs().sum(dim=0).double().cpu()  # the loss is a mean over the rows
    finally:
        for handle in handles:
            handle.remove()
    return [total.numpy() for total in totals]


def _sample(examples: Examples, seed: int) -> Examples:
    rows = np.sort(np.random.default_rng(seed).permutation(len(examples.tokens))[:_TEXTS])
    teacher = None if examples.teacher is None else examples.teacher[rows]
    return Examples([examples.tokens[row] for row in rows], examples.labels[rows], teacher)
