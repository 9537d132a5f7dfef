"""The pictures of a search: what each setting did, and which mattered. They read what `tune` wrote."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from .drawing import ACCENT, DASHED, MUTED, ORANGE, STYLE, dot, named_rows, percent, short, words

_ENOUGH = 20  # complete trials; fewer say little about importance


@dataclass(frozen=True)
class Search:
    """What best_params.json and hypersearch.csv say."""

    found: Mapping[str, Any]
    rows: Sequence[Mapping[str, str]]

    @property
    def metric(self) -> str:
        """The objective's name."""
        return str(self.found["objective"]["name"])

    def of(self, state: str) -> list[Mapping[str, str]]:
        """The trials in a state that have a value."""
        return [row for row in self.rows if row["state"] == state and row["objective"]]


def draw_search(directory: Path) -> list[str]:
    """Write importance.png and slice.png; returns the names of those that have something to show."""
    with (directory / "hypersearch.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    search = Search(json.loads((directory / "best_params.json").read_text(encoding="utf-8")), rows)
    written = []
    with matplotlib.rc_context(STYLE):
        for name, picture in PICTURES.items():
            figure = picture(search)
            (directory / name).unlink(missing_ok=True)  # of a search that had more to show
            if figure is not None:
                figure.savefig(directory / name, metadata={"Software": None})
                written.append(name)
    return written


def importance(search: Search) -> Figure | None:
    """The share of each setting in the objective's variation over the complete trials."""
    shares = search.found["importance"]
    if not shares:
        return None
    figure = Figure((6.5, 1 + 0.34 * len(shares)), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(range(len(shares)), list(shares.values()), height=0.6, color=ACCENT)
    for row, share in enumerate(shares.values()):
        axes.annotate(
            f"{100 * share:.0f} %", (share, row), (4, 0), textcoords="offset points", va="center", fontsize=8.5
        )
    named_rows(axes, list(shares))
    axes.spines["left"].set_visible(False)
    axes.set_xlim(0, 1.08 * max(shares.values()))
    trials = len(search.of("complete"))
    basis = f"{trials} trials" if trials >= _ENOUGH else f"only {trials} trials: rough"
    axes.set_xlabel(f"share in the variation of {words(search.metric)} (PED-ANOVA, {basis})")
    return figure


def slices(search: Search) -> Figure | None:
    """Each setting against the objective, a marker per trial."""
    space, complete = search.found["space"], search.of("complete")
    if not complete:
        return None
    columns = min(3, len(space))
    lines = math.ceil(len(space) / columns)
    figure = Figure((max(6.5, 3 * columns), 2.9 * lines + 0.4), layout="constrained")
    low, high = _limits(search)
    for index, (key, values) in enumerate(space.items()):
        axes = figure.add_subplot(lines, columns, index + 1)
        position = _axis(axes, values)
        for rows, style in _groups(search):
            x = [position(row[key]) for row in rows]
            for row, place in zip(rows, x, strict=True):
                value = float(row["objective"])
                beyond = {} if low <= value <= high else {"marker": "^" if value > high else "v"}
                axes.plot(place, min(max(value, low), high), **style | beyond, linestyle="none", clip_on=False)
        axes.axhline(search.found["objective"]["value"], color=ORANGE, linewidth=0.9, linestyle=DASHED, zorder=0)
        axes.set_ylim(low, high)
        axes.set_xlabel(key)
        axes.grid(axis="y")
        if search.metric != "nll":
            axes.yaxis.set_major_formatter(percent)
        if index % columns == 0:
            axes.set_ylabel(f"{words(search.metric)} on {search.found['objective']['judged_on'].removeprefix('the ')}")
        else:
            axes.tick_params(labelleft=False)
    figure.legend(handles=_legend(search), loc="outside upper left", ncols=5)
    return figure


def _groups(search: Search) -> list[tuple[list[Mapping[str, str]], dict[str, Any]]]:
    """Trials that are drawn alike, the most important last."""
    best, same = str(search.found["trial"]), set(map(str, search.found["indistinguishable"]))
    complete = [row for row in search.of("complete") if row["number"] != best]
    return [
        (search.of("pruned"), {"marker": "x", "color": MUTED, "markersize": 4.5}),
        ([row for row in complete if row["number"] not in same], _disc(MUTED)),
        ([row for row in complete if row["number"] in same], _disc(ACCENT)),
        ([row for row in search.of("complete") if row["number"] == best], {**_disc(ORANGE), "markersize": 8}),
    ]


def _disc(color: str) -> dict[str, Any]:
    return {"marker": "o", "color": color, "markersize": 5.5, "markeredgecolor": "white", "markeredgewidth": 0.5}


def _legend(search: Search) -> list[Line2D]:
    names = ("stopped early", "worse than the best", "not told apart from the best", "best trial")
    handles = [dot(name, 6, style["color"]) for name, (_, style) in zip(names, _groups(search), strict=True)]
    handles[0].set(marker="x", markeredgewidth=1.2)
    shown = [handle for handle, (rows, _) in zip(handles, _groups(search), strict=True) if rows]
    low, high = _limits(search)
    if any(not low <= float(row["objective"]) <= high for row in [*search.of("complete"), *search.of("pruned")]):
        shown.append(Line2D([], [], linestyle="none", marker="^", color=MUTED, markersize=5, label="beyond the edge"))
    return shown


def _limits(search: Search) -> tuple[float, float]:
    """The range that is drawn: a trial that went astray is put on the edge, so that the others can be told apart."""
    values = np.array([float(row["objective"]) for row in [*search.of("complete"), *search.of("pruned")]])
    best = float(search.found["objective"]["value"])
    reach = max(2.5 * float(np.median(np.abs(values - best))), 1e-3)
    worst = min(reach, float(np.abs(values - best).max()) or reach)
    margin = 0.06 * worst
    return (best - margin, best + worst + margin) if search.metric == "nll" else (best - worst - margin, best + margin)


def _axis(axes: Axes, values: Mapping[str, Any]) -> Callable[[str], float]:
    """Set up the axis of a setting; returns where on it a cell of the table is."""
    if "choices" in values:
        names = [str(choice) for choice in values["choices"]]
        axes.set_xticks(range(len(names)), [short(name, 12) for name in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
        return lambda cell: float(names.index(cell))
    low, high = values["low"], values["high"]
    if values["log"]:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if high / low < 300 else (1,), numticks=6))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        edge = (high / low) ** 0.03
        axes.set_xlim(low / edge, high * edge)
        return float
    if isinstance(low, int):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.set_xlim(low - 0.03 * (high - low), high + 0.03 * (high - low))
    return float


PICTURES: dict[str, Callable[[Search], Figure | None]] = {"importance.png": importance, "slice.png": slices}
