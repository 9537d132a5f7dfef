"""The training curves of the report: loss and its parts, validation metrics, learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .drawing import INK, LINES, MUTED, PURPLE, percent, short, words
from .view import Evidence

_DOTTED = (0, (1, 2))


def training(evidence: Evidence) -> Figure | None:
    """For each trained model the training loss with its parts, validation metrics below it, then the learning rate."""
    runs = [run for run in evidence.training if run["history"]]
    if not runs:
        return None
    columns, scores = min(3, len(runs)), _scores(evidence.metric)
    lines = math.ceil(len(runs) / columns)
    figure = Figure((max(6.5, 3.1 * columns), 4.5 * lines + 0.2), layout="constrained")
    all_axes = figure.subplots(3 * lines, columns, squeeze=False, gridspec_kw={"height_ratios": [3, 2, 1.2] * lines})
    values = [epoch[s] for run in runs for epoch in run["history"] for s in scores if epoch.get(s) is not None]
    for index in range(lines * columns):
        panels = list(all_axes[3 * (index // columns) : 3 * (index // columns) + 3, index % columns])
        if index >= len(runs):
            for axes in panels:
                axes.set_axis_off()
            continue
        _draw_run(runs[index], panels, scores)
        if values:  # one scale for all models
            margin = 0.08 * (max(values) - min(values)) + 1e-3
            panels[1].set_ylim(min(values) - margin, max(values) + margin)
        if index % columns == 0:
            for axes, name in zip(panels, ("loss", "validation", "learning\nrate"), strict=True):
                axes.set_ylabel(name)
    found = {name for run in runs for name in run["history"][0]}
    drawn = [*((name, color) for name, color in LINES if name in found), *scores.items()]
    handles = [Line2D([], [], color=color, marker=".", label=words(name)) for name, color in drawn]
    handles.append(Line2D([], [], color=MUTED, linestyle=_DOTTED, label="epoch that was kept"))
    figure.legend(handles=handles, loc="outside upper left", ncols=4)
    return figure


def _draw_run(run: Mapping[str, Any], panels: Sequence[Axes], scores: Mapping[str, str]) -> None:
    """The three panels of a model, from top to bottom."""
    upper, middle, lower = panels
    history, epochs = run["history"], [epoch["epoch"] for epoch in run["history"]]
    for name, color in LINES:
        if name in history[0] and (name != "hard_loss" or "soft_loss" in history[0]):  # alone it is the loss
            upper.plot(epochs, [epoch.get(name) for epoch in history], ".-", color=color)
    for name, color in scores.items():
        middle.plot(epochs, [epoch.get(name) for epoch in history], ".-", color=color)
    rates = [epoch.get("learning_rate") for epoch in history]
    lower.plot(epochs, rates, ".-", color=INK)
    for axes in panels:
        axes.axvline(run["best_epoch"], color=MUTED, linewidth=0.9, linestyle=_DOTTED)
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.tick_params(labelbottom=axes is lower)
    upper.set_ylim(bottom=0)
    upper.set_title(short(run["name"], 34))
    middle.yaxis.set_major_formatter(percent)
    lower.set_ylim(0, 1.2 * max([rate or 0.0 for rate in rates]) or 1.0)
    lower.yaxis.set_major_locator(MaxNLocator(2))
    lower.yaxis.set_major_formatter(lambda value, _: np.format_float_scientific(value, 2, trim="-", exp_digits=1))
    lower.set_xlabel("epoch")


def _scores(metric: str) -> dict[str, str]:
    """The validation metrics that are shown, with their colours: the task metric and macro F1."""
    return {f"val_{metric}": INK} | ({} if metric == "macro_f1" else {"val_macro_f1": PURPLE})
