"""The picture of what a multi-label task's labels were given and denied, in the place of a confusion matrix."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from .. import multilabel
from .drawing import ACCENT, FAINT, MUTED, ORANGE, named_rows, short
from .view import Evidence

_PARTS = (("rightly given", 0, ACCENT), ("missed", 2, FAINT), ("wrongly given", 1, ORANGE))  # rows of the outcomes


def label_outcomes(evidence: Evidence) -> Figure | None:
    """For each shown model and label the texts that rightly got it, those that lack it, and those that should."""
    classes, models = len(evidence.names), evidence.panels
    if not models:
        return None
    columns = min(2, len(models))
    lines = math.ceil(len(models) / columns)
    figure = Figure((4.6 * columns, lines * (1.0 + 0.3 * classes) + 0.4), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True)
    for axes, model in zip(panels.flat, models, strict=False):
        table = multilabel.outcomes(evidence.labels, evidence.answers(model).labels)
        left = np.zeros(classes)
        for name, row, color in _PARTS:
            axes.barh(np.arange(classes), table[row], left=left, height=0.72, color=color, label=name)
            left += table[row]
        for label, (right, wrong, missed) in enumerate(table[:3].T):
            text = f" {right:.0f} · {missed:.0f} · {wrong:.0f}"
            axes.text(left[label], label, text, va="center", fontsize=7, color=MUTED)
        named_rows(axes, evidence.names)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.margins(x=0.16)
        axes.tick_params(axis="x", labelbottom=True)
        axes.set(title=short(model["key"], 40), xlabel=f"texts of {len(evidence.labels):,}")
    for axes in list(panels.flat)[len(models) :]:
        axes.set_axis_off()
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure
