"""A model's answers on a labelled split, and what they are worth: the same for tasks of either kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import metrics, multilabel
from .data.task import Labels
from .decision import Decision
from .estimates import Estimate


@dataclass(frozen=True)
class Answers:
    """Logits (n, labels), and how they are decided."""

    logits: NDArray[np.float32]
    decision: Decision

    @cached_property
    def labels(self) -> Labels:
        """The chosen label of each text, (n,); of a multi-label task (n, labels) of 0 and 1."""
        return self.decision.choose(self.logits)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Calibrated, (n, labels)."""
        return self.decision.probabilities(self.logits)

    def scores(self, truth: Labels, resamples: int, seed: int) -> dict[str, Estimate]:
        """Every score, with its interval."""
        if self.decision.kind == "multi":
            return multilabel.evaluate(self.probabilities, self.labels, truth, resamples, seed)
        return metrics.evaluate(self.probabilities, truth, resamples, seed)

    def values(self, truth: Labels) -> dict[str, float]:
        """Every score, without its interval."""
        if self.decision.kind == "multi":
            return multilabel.values(self.probabilities, self.labels, truth)
        return metrics.values(self.probabilities, truth)

    def by_label(self, truth: Labels, names: Sequence[str]) -> dict[str, Any]:
        """The scores of each label, and the confusion: of a multi-label task a table of two by two for each."""
        if self.decision.kind == "single":
            table = metrics.confusion(truth, self.labels, len(names))
            per_class = metrics.per_class(table)
            return {"per_class": _named(names, per_class), "confusion": table.tolist()}
        outcomes = multilabel.outcomes(truth, self.labels)
        areas = multilabel.average_precision(self.probabilities, truth)
        rows: list[dict[str, Any]] = [
            {**scores, "average_precision": area}
            for scores, area in zip(multilabel.per_class(outcomes), areas, strict=True)
        ]
        return {"per_class": _named(names, rows), "confusion": multilabel.confusion(outcomes)}


def model_key(row: Mapping[str, Any]) -> str:
    """What the answers of a model are called, from its row of results.json: name/variant."""
    return f"{row['name']}/{row['variant']}"


def seed_key(model: str, seed: int) -> str:
    """What the answers of a further seed are called; `model` as `model_key` has it."""
    return f"{model}/seed-{seed}"


def shipped(row: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """What of a row of results.json ships, by key, and its path and decision: of several seeds, the chosen one's."""
    key, seeds = model_key(row), row.get("seeds")
    if not seeds:
        return key, row
    first, chosen = next(iter(seeds["files"])), str(seeds["ships"])
    return key if chosen == first else seed_key(key, seeds["ships"]), seeds["files"][chosen]


def replicates(answers: Sequence[Answers], truth: Labels, resamples: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Bootstrap replicates (models, resamples) of every score, all models on the same resampled texts."""
    probabilities = [answer.probabilities for answer in answers]
    if truth.ndim == 2:
        return multilabel.replicates(probabilities, [answer.labels for answer in answers], truth, resamples, seed)
    return metrics.replicates(probabilities, truth, resamples, seed)


def noted(decision: Decision) -> dict[str, Any]:
    """A decision as results.json has it in the row of a model."""
    thresholds = {"thresholds": list(decision.thresholds)} if decision.kind == "multi" else {}
    return {"temperature": decision.temperature, **thresholds}


def decision_from(row: Mapping[str, Any], kind: Any) -> Decision:
    """What `noted` wrote."""
    return Decision(kind, row["temperature"] or 1.0, tuple(row.get("thresholds") or ()))


def _named(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"label": name, **scores} for name, scores in zip(names, rows, strict=True)]
