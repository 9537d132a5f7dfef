"""The pictures of what accuracy costs: in milliseconds and in megabytes, with the front and the limits of a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from ..fitting import speed_of
from .drawing import ACCENT, COLORS, DASHED, MUTED, ORANGE, dot, percent, role_legend, short, words
from .placement import label_points
from .view import Evidence, Model, teacher_of

_RADIUS = 4.0  # points, where the area of a dot says nothing


def tradeoff(evidence: Evidence) -> Figure | None:
    """Latency against task metric, marker area = bytes; of the percentile that the budget is about, if it has one."""
    percentile = (evidence.budget or {}).get("percentile", "p50")
    costs = {model["key"]: speed_of(model["speed"])["latency"].get(percentile) for model in evidence.models}
    largest = max((m["bytes"] or 0 for m in evidence.models if costs[m["key"]]), default=0) or 1
    radii = {m["key"]: math.sqrt(max(10.0, 300 * (m["bytes"] or 0) / largest)) for m in evidence.models}
    sizes = [10.0**power for power in range(3, 12) if largest / 200 < 10**power <= largest]
    handles = [dot(f"{size / 1e6:g} MB on disk", 2 * math.sqrt(300 * size / largest), MUTED) for size in sizes]
    handles.append(_front_line("no model is both faster and better"))
    axis = f"milliseconds for one text ({percentile}, batch 1, one thread; log scale)"
    return _front_of(evidence, costs, radii, axis, handles, "max_latency_ms")


def size_tradeoff(evidence: Evidence) -> Figure | None:
    """Megabytes against task metric."""
    costs = {model["key"]: model["bytes"] and model["bytes"] / 1e6 for model in evidence.models}
    radii = dict.fromkeys(costs, _RADIUS)
    handles = [_front_line("no model is both smaller and better")]
    return _front_of(evidence, costs, radii, "megabytes on disk (log scale)", handles, "max_mb")


def _front_line(label: str) -> Line2D:
    return Line2D([], [], color=ACCENT, linestyle=DASHED, linewidth=1, label=label)


def _front_of(
    evidence: Evidence,
    costs: dict[str, float | None],
    radii: dict[str, float],
    axis: str,
    handles: Sequence[Line2D],
    limit: str,
) -> Figure | None:
    """The task metric against a cost; constant models, and those whose cost is not known, are left out."""
    models = [m for m in evidence.models if costs[m["key"]] and m["value"] is not None and m["variant"] != "none"]
    if not models:
        return None
    figure = Figure((8, 6.4), layout="constrained")
    axes = figure.add_subplot()
    points = [(float(costs[model["key"]] or 0), float(model["value"])) for model in models]
    for model, point in zip(models, points, strict=True):
        _mark(axes, model, point, radii[model["key"]])
    front = pareto_front(points)
    axes.step(*zip(*front, strict=True), where="post", color=ACCENT, linewidth=1, linestyle=DASHED, zorder=2)
    axes.set_xscale("log")
    axes.margins(x=0.16, y=0.1)
    budget = _draw_limits(axes, evidence, limit)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(percent)
    axes.grid()
    axes.set_xlabel(axis)
    axes.set_ylabel(f"{words(evidence.metric)} on test with 95 % interval")
    role_legend(figure, models, [*handles, *budget])
    names = [short(model["key"], 30) for model in models]
    label_points(figure, axes, points, [radii[model["key"]] for model in models], names, front)
    return figure


def _mark(axes: Axes, model: Model, point: tuple[float, float], radius: float) -> None:
    """A dot with its interval; hollow where the size is not known."""
    (x, y), color = point, COLORS[model["role"]]
    axes.plot([x, x], [model["low"] or y, model["high"] or y], color=color, linewidth=1, alpha=0.3, zorder=1)
    face = color if model["bytes"] else "white"
    axes.plot(x, y, "o", markersize=2 * radius, markerfacecolor=face, markeredgecolor=color, alpha=0.65, zorder=3)


def _draw_limits(axes: Axes, evidence: Evidence, limit: str) -> list[Line2D]:
    """Lines at the limits of the budget, and what the legend says of them."""
    limits, teacher = (evidence.budget or {}).get("limits", {}), teacher_of({"models": evidence.models})
    if most := limits.get(limit):
        axes.axvline(most, color=ORANGE, linewidth=1, zorder=1)
    least = limits.get("min_retention")
    if least and teacher:
        axes.axhline(least * teacher["value"], color=ORANGE, linewidth=1, zorder=1)
    return [Line2D([], [], color=ORANGE, linewidth=1, label="the budget")] if most or (least and teacher) else []


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, worth) that no other beats in both, by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, worth in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or worth > front[-1][1]:
            front.append((cost, worth))
    return front
