"""The pictures of the calibration study: reliability before and after the temperature, and risk against coverage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .. import multilabel
from ..calibration_metrics import RISKS, risk_coverage
from ..data.task import Kind, Labels
from ..decision import Decision
from ..metrics import reliability
from .drawing import ACCENT, DASHED, INK, MUTED, ORANGE, SERIES, percent, short
from .view import Evidence, Model

Logits = NDArray[np.float32]
_FEWEST = 20  # answered texts: the error among fewer jumps about


def reliability_diagrams(evidence: Evidence) -> Figure | None:
    """Confidence against share right in equal-mass bins, before and after the temperature; a panel per split."""
    models, splits = evidence.panels, _splits(evidence)
    if not models:
        return None
    least, across, along = 1 / len(evidence.names), "confidence", "share right"
    if evidence.kind == "multi":
        least, across, along = -0.01, "stated probability", "share that applies"
    abreast = _abreast(len(models), len(splits))
    lines, columns = math.ceil(len(models) / abreast), abreast * len(splits)
    figure = Figure((max(5, 2.7 * columns + 0.4), 2.9 * lines + 0.4), layout="constrained")
    for index, model in enumerate(models):
        for place, (split, (labels, logits)) in enumerate(splits.items()):
            line, column = index // abreast, index % abreast * len(splits) + place
            axes = figure.add_subplot(lines, columns, line * columns + column + 1)
            if model["key"] not in logits:
                axes.set_axis_off()
                continue
            _diagram(axes, model, logits[model["key"]], labels, evidence.kind)
            axes.set_title(_title(model, split, len(splits)), fontsize=8.5)
            axes.set(xlim=(least, 1.01), ylim=(0, 1.02))
            axes.set_ylabel(along if column == 0 else "")
            axes.set_xlabel(across if index >= len(models) - abreast else "")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def risk_coverage_curves(evidence: Evidence) -> Figure | None:
    """The error among the most confident share of the texts, for every share; a panel per split."""
    models, splits = evidence.panels, _splits(evidence)
    if not models:
        return None
    figure = Figure((max(6.0, 5.0 * len(splits)), 4.4 + 0.2 * math.ceil(len(models) / 3)), layout="constrained")
    highest = 0.0
    for place, (split, (labels, logits)) in enumerate(splits.items()):
        axes = figure.add_subplot(1, len(splits), place + 1)
        for risk in RISKS:
            axes.axhline(risk, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
        for model, (color, dashes) in zip(models, _styles(models), strict=True):
            if model["key"] in logits:
                decision = Decision(evidence.kind, model["temperature"] or 1.0)
                _, coverage, risks = risk_coverage(decision.probabilities(logits[model["key"]]), labels)
                enough = coverage * labels.size >= min(_FEWEST, labels.size)
                label = short(model["key"], 30)
                axes.plot(coverage[enough], risks[enough], color=color, linestyle=dashes, linewidth=1.4, label=label)
                highest = max(highest, float(risks[-1]))
        axes.set_title(f"{split} (n = {len(labels):,})")
        axes.set_xlim(0, 1.01)
        axes.set_xlabel("share answered, most confident first")
        axes.set_ylabel("error among the answered" if place == 0 else "")
        axes.xaxis.set_major_formatter(percent)
        axes.yaxis.set_major_formatter(percent)
        axes.grid(axis="x")
    for axes in figure.axes:
        axes.set_ylim(0, max(1.15 * highest, 1.2 * RISKS[-1]))
    figure.legend(*figure.axes[-1].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


def _diagram(axes: Axes, model: Model, logits: Logits, labels: Labels, kind: Kind) -> None:
    binned = multilabel.reliability if kind == "multi" else reliability
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=DASHED)
    shipped = model["temperature"] or 1.0
    marks: list[tuple[float, str, str, str]] = [
        (1.0, ORANGE, "s", "before the temperature"), (shipped, ACCENT, "o", "after it, as shipped")
    ]  # fmt: skip
    for temperature, color, marker, name in marks:
        bins = binned(Decision(kind, temperature).probabilities(logits), labels)
        x, y = [bin_[0] for bin_ in bins], [bin_[1] for bin_ in bins]
        axes.plot(x, y, marker=marker, color=color, label=name, linewidth=1.1, markersize=3.5, alpha=0.9)
    axes.xaxis.set_major_formatter(percent)
    axes.yaxis.set_major_formatter(percent)
    axes.grid()


def _title(model: Model, split: str, splits: int) -> str:
    """The model and the split, and the ECE that the study found, before → after."""
    name = short(model["key"], 26)
    study: Mapping[str, Any] = (model.get("calibration_study") or {}).get(
        "val" if split == "validation" else "test", {}
    )
    values = [study[when]["measures"]["ece"]["value"] for when in ("before", "after") if when in study]
    head = f"{name}, {split}" if splits > 1 else name
    return f"{head}\nECE {' → '.join(f'{100 * value:.1f}' for value in values)} %" if values else head


def _splits(evidence: Evidence) -> dict[str, tuple[Labels, Mapping[str, Logits]]]:
    """What the panels are of; validation is there where its logits were stored."""
    validation = {} if evidence.val is None else {"validation": evidence.val}
    return {**validation, "test": (evidence.labels, evidence.logits)}


def _abreast(models: int, splits: int) -> int:
    """How many models stand side by side."""
    if splits > 1:
        return 1 if models <= 2 else 2
    return 2 if models in (2, 4) else min(3, models)


def _styles(models: Sequence[Model]) -> list[tuple[str, Any]]:
    """A colour and dashes for each: the teacher in ink, more than six students in a second round of dashes."""
    styles = iter(
        [(color, dashes) for dashes in ("-", (0, (4, 1.5)), (0, (1, 1))) for color, _ in SERIES] * len(models)
    )
    return [(INK, "-") if model["role"] == "teacher" else next(styles) for model in models]
