"""The report's pictures: from numbers to PNG files, with matplotlib's object API (Agg), no pyplot.

A picture that has nothing to show is left out. Colours are Okabe and Ito's, which colour-blind people can tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ..data.task import Labels
from ..metrics import confusion
from .calibration_plots import reliability_diagrams, risk_coverage_curves
from .cascade_plots import certified_curves
from .drawing import (
    COLORS,
    DASHED,
    FAINT,
    INK,
    ORANGE,
    SERIES,
    STYLE,
    interval,
    named_rows,
    percent,
    role_legend,
    short,
    words,
)
from .frontier import size_tradeoff, tradeoff
from .outcomes import label_outcomes
from .training_plots import training
from .view import Evidence, Model


def draw(evidence: Evidence, out: Path, names: Collection[str] = ()) -> list[str]:
    """Write the pictures into `out`, or only those of the given names; returns the names of the files."""
    written = []
    with matplotlib.rc_context(STYLE):
        for name, picture in PICTURES.items():
            if names and name not in names:
                continue
            figure = picture(evidence)
            if figure is not None:
                figure.savefig(out / name, metadata={"Software": None})
                written.append(name)
    return written


def accuracy(evidence: Evidence) -> Figure | None:
    """The task metric of every model with its interval; a constant model, far below, is written and not drawn."""
    models = [model for model in evidence.models if model["value"] is not None]
    if not models:
        return None
    figure = Figure((8, 1.1 + 0.3 * len(models)), layout="constrained")
    axes = figure.add_subplot()
    for row, model in enumerate(models):
        text = f"{100 * model['value']:.2f} %"
        text += f"  ({100 * model['low']:.1f} to {100 * model['high']:.1f})" if model["low"] is not None else ""
        if model["variant"] != "none":
            interval(axes, model, row)
            axes.plot(model["value"], row, "o", color=COLORS[model["role"]], markersize=6)
        axes.annotate(text, (1.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=8.5)
        if model["role"] == "teacher" and model["key"] in evidence.shown:
            axes.axvline(model["value"], color=INK, linewidth=0.9, linestyle=DASHED, zorder=0)
    named_rows(axes, [model["key"] for model in models])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"{words(evidence.metric)} on test (n = {models[0]['score']['n']:,}) with 95 % interval")
    role_legend(figure, models)
    return figure


def confusion_matrices(evidence: Evidence) -> Figure | None:
    """Truth against answer for each shown model: colour is the share of the row, the number is the count."""
    if evidence.kind == "multi":
        return label_outcomes(evidence)
    classes, models = len(evidence.names), evidence.panels
    if not models:
        return None
    columns = 1 if classes > 10 else min(2, len(models))
    lines, side = math.ceil(len(models) / columns), 1.5 + min(20.0, max(2.4, 0.38 * classes))
    figure = Figure((columns * side * 1.1, lines * side), layout="constrained")
    names = [short(name, 24) for name in evidence.names]
    for index, model in enumerate(models):
        axes = figure.add_subplot(lines, columns, index + 1)
        counts = confusion(evidence.labels, evidence.answers(model).labels, classes)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in zip(*np.nonzero(counts), strict=True):
            share, color = shares[row, column], "white" if shares[row, column] > 0.55 else INK
            text = f"{counts[row, column]}" + (f"\n{share:.0%}" if classes <= 10 else "")
            size = 7.5 if classes <= 50 else 4
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=size, linespacing=1.3)
        axes.set_xticks(range(classes), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(classes), names)
        axes.tick_params(length=0, labelsize=8 if classes <= 50 else 5)
        axes.spines[:].set_visible(False)
        axes.set(title=short(model["key"], 40), xlabel="answer", ylabel="truth")
    return figure


def teacher_vs_student_accuracy(evidence: Evidence) -> Figure | None:
    """The task metric of the teacher, the file that ships of each student, and the controls, as bars from 0."""
    models = [m for m in evidence.models if m["value"] is not None and (m["key"] in evidence.shown or _control(m))]
    if not models:
        return None
    figure = Figure((max(4.5, 1.6 + 0.95 * len(models)), 4.4), layout="constrained")
    axes = figure.add_subplot()
    for place, model in enumerate(models):
        axes.bar(place, model["value"], width=0.62, color=COLORS[model["role"]], alpha=0.85)
        top = model["value"] if model["high"] is None else model["high"]
        if model["low"] is not None:
            axes.vlines(place, model["low"], top, color=ORANGE, linewidth=2)
        text = f"{100 * model['value']:.1f} %"
        axes.annotate(text, (place, top), (0, 3), textcoords="offset points", ha="center", fontsize=8.5)
    names = [short(model["key"], 24) for model in models]
    axes.set_xticks(range(len(models)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 1.06)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.yaxis.set_major_formatter(percent)
    axes.grid(axis="y")
    axes.set_ylabel(f"{words(evidence.metric)} on test (n = {models[0]['score']['n']:,})")
    role_legend(figure, models, [Line2D([], [], color=ORANGE, linewidth=2, label="95 % interval")])
    return figure


def _control(model: Model) -> bool:
    return bool(model["role"] == "control")


def teacher_vs_student_label_distribution(evidence: Evidence) -> Figure | None:
    """How often each label is true, and how often the teacher and each student answer it, as bars side by side."""
    classes, models = len(evidence.names), evidence.panels
    if not models:
        return None
    count = 1 + len(models)
    height = 0.8 / count
    figure = Figure((8, 1.4 + classes * max(0.34, 0.16 * count)), layout="constrained")
    axes = figure.add_subplot()
    styles = iter(color for color, _ in SERIES * len(models))
    bars = [("truth", FAINT, evidence.labels)]
    for model in models:
        color = INK if model["role"] == "teacher" else next(styles)
        bars.append((short(model["key"], 26), color, evidence.answers(model).labels))
    for place, (name, color, labels) in enumerate(bars):
        shares = _shares(labels, classes)
        rows = np.arange(classes) + (place - (count - 1) / 2) * height
        drawn = axes.barh(rows, shares, height=0.88 * height, color=color, label=name)
        if classes <= 10:
            axes.bar_label(drawn, [f"{100 * share:.1f}" for share in shares], padding=3, fontsize=7.5)
    named_rows(axes, evidence.names)
    axes.set_xlabel(f"share of the test split (n = {len(evidence.labels):,})")
    figure.legend(loc="outside upper left", ncols=4)
    return figure


def _shares(labels: Labels, classes: int) -> NDArray[np.float64]:
    """On what share of the texts each label is given."""
    counts = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=classes)
    return np.asarray(counts / max(1, len(labels)))


PICTURES: dict[str, Callable[[Evidence], Figure | None]] = {
    "accuracy.png": accuracy, "tradeoff.png": tradeoff, "size.png": size_tradeoff, "training.png": training,
    "confusion.png": confusion_matrices,
    "calibration-reliability.png": reliability_diagrams, "risk-coverage.png": risk_coverage_curves,
    "cascade-risk-coverage.png": certified_curves,
    "teacher_vs_student_accuracy.png": teacher_vs_student_accuracy,
    "teacher_vs_student_label_distribution.png": teacher_vs_student_label_distribution,
}  # fmt: skip
