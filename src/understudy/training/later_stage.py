"""A later stage of a distillation, on gold labels alone or in simulated INT8: kept only if validation says it helps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..artifact import Draft
from ..decision import fit_temperature, losses
from ..progress import Progress
from .loop import Examples, infer


def kept_if_better(
    draft: Draft,
    module: nn.Module,
    checks: Examples,
    learn: Callable[[], None],
    *,
    name: str,
    said: str,
    pad_id: int,
    progress: Progress,
) -> bool:
    """Let the module learn on; take its weights back if its validation NLL is not lower than before.

    Both at the temperature that fits them best: a student of soft labels is less sure than one of gold labels, and
    calibration would have mended that anyway. What came of it is noted in the draft as `name`; `said` is for a person.
    """
    weights = {key: tensor.detach().clone() for key, tensor in module.state_dict().items()}
    epoch, before = draft.measurements["best_epoch"], _nll(module, checks, pad_id)
    learn()
    after = _nll(module, checks, pad_id)
    kept = after < before
    if not kept:
        module.load_state_dict(weights)
        draft.measurements["best_epoch"] = epoch
    draft.measurements[name] = {"kept": kept, "val_nll_before": before, "val_nll_after": after}
    outcome = "kept" if kept else "taken back"
    progress.note(f"  {said}: calibrated validation NLL {before:.4f} → {after:.4f}, {outcome}")
    return kept


def _nll(module: nn.Module, checks: Examples, pad_id: int) -> float:
    logits = infer(module, checks.tokens, pad_id, torch.device("cpu"))
    return float(losses(logits / fit_temperature(logits, checks.labels), checks.labels).mean())
