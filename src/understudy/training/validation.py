"""How good a network is on validation, after every epoch and trial."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import multilabel
from ..data.task import Labels
from ..decision import losses
from ..metrics import METRICS, confusion
from ..thresholds import fitted_decision


def validate(logits: NDArray[np.float32], labels: Labels) -> dict[str, float]:
    """NLL and the task metrics on labelled rows, by `fitted_decision`."""
    chosen, nll = fitted_decision(logits, labels).choose(logits), float(losses(logits, labels).mean())
    if labels.ndim == 2:
        outcomes = multilabel.outcomes(labels, chosen)
        return {"nll": nll, **{name: float(metric(outcomes)) for name, metric in multilabel.METRICS.items()}}
    table = confusion(labels, chosen, logits.shape[1])
    return {"nll": nll, **{name: float(METRICS[name](table)) for name in ("accuracy", "macro_f1", "macro_recall")}}
