"""The second stage of a distillation: briefly on gold labels alone, kept only if validation says that it helps."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..artifact import Draft
from ..decision import fit_temperature, losses
from ..progress import Progress
from .loop import Examples, infer
from .networks import Network


def kept_if_better(
    draft: Draft, network: Network, checks: Examples, learn: Callable[[], None], progress: Progress
) -> None:
    """Let the network learn on; take its weights back if its validation NLL is not lower than before.

    Both at the temperature that fits them best: a student of soft labels is less sure than one of gold labels, and
    calibration would have mended that anyway. What came of it is noted in the draft.
    """
    weights = {name: tensor.detach().clone() for name, tensor in network.module.state_dict().items()}
    epoch, before = draft.measurements["best_epoch"], _nll(network, checks)
    learn()
    after = _nll(network, checks)
    kept = after < before
    if not kept:
        network.module.load_state_dict(weights)
        draft.measurements["best_epoch"] = epoch
    draft.measurements["gold_stage"] = {"kept": kept, "val_nll_before": before, "val_nll_after": after}
    outcome = "kept" if kept else "taken back"
    progress.note(f"  gold labels alone: calibrated validation NLL {before:.4f} → {after:.4f}, {outcome}")


def _nll(network: Network, checks: Examples) -> float:
    logits = infer(network.module, checks.tokens, network.pad_id, torch.device("cpu"))
    return float(losses(logits / fit_temperature(logits, checks.labels), checks.labels).mean())
