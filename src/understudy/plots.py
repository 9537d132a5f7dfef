"""The report's pictures: from numbers to PNG files, with matplotlib's object API (Agg), no pyplot.

A picture that has nothing to show is left out. Colours are Okabe and Ito's, which colour-blind people can tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from .data.task import Labels
from .decision import softmax
from .metrics import confusion, reliability

Box = tuple[float, float, float, float]  # left, bottom, right, top
Model = dict[str, Any]

INK, ACCENT, MUTED, FAINT = "#1f2933", "#0072b2", "#8a939e", "#d5dae0"
COLORS = {"teacher": INK, "student": ACCENT, "control": MUTED}
SERIES = [(ACCENT, "o"), ("#d55e00", "s"), ("#009e73", "^"), ("#cc79a7", "D"), ("#e69f00", "v"), ("#56b4e9", "P")]
LINES = [("loss", INK), ("soft_loss", ACCENT), ("hard_loss", "#d55e00"), ("val_nll", "#009e73")]
STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a label may hold two dollar signs
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.dpi": 150,
    "savefig.dpi": "figure",
}


@dataclass(frozen=True)
class Evidence:
    """What the pictures show: models as `reporting.prepared` makes them, the test split's labels and raw logits.

    `logits` is keyed by model key; `shown` are the keys of the teacher and of the file that ships of each student.
    """

    models: Sequence[Model]
    training: Sequence[dict[str, Any]]
    label_names: Sequence[str]
    metric: str
    labels: Labels
    logits: dict[str, NDArray[np.float32]]
    shown: Sequence[str]

    @property
    def panels(self) -> list[Model]:
        """The models that have a panel of their own: those in `shown` whose logits are known."""
        return [model for model in self.models if model["key"] in self.shown and model["key"] in self.logits]

    def probabilities(self, model: Model) -> NDArray[np.float64]:
        """What the model says after calibration, (n, labels)."""
        return softmax(self.logits[model["key"]], model["temperature"] or 1.0)


def draw(evidence: Evidence, out: Path) -> list[str]:
    """Write the pictures into `out`; returns the names of the files."""
    written = []
    with matplotlib.rc_context(STYLE):
        for name, picture in PICTURES.items():
            figure = picture(evidence)
            if figure is not None:
                figure.savefig(out / name, metadata={"Software": None})
                written.append(name)
    return written


def accuracy(evidence: Evidence) -> Figure | None:
    """The task metric of every model with its interval; a constant model that is far below is written, not drawn."""
    models = [model for model in evidence.models if _value(model) is not None]
    if not models:
        return None
    figure = Figure((8, 1.1 + 0.3 * len(models)), layout="constrained")
    axes = figure.add_subplot()
    rows = range(len(models), 0, -1)
    drawn = [model for model in models if model["variant"] != "none"] or models
    for row, model in zip(rows, models, strict=True):
        color, (low, high) = COLORS[model["role"]], _interval(model)
        if model in drawn:
            axes.plot([low, high], [row, row], color=color, linewidth=2, alpha=0.45, solid_capstyle="round")
            axes.plot(_value(model), row, "o", color=color, markersize=6)
        text = f"{_value(model):.1%}  ({100 * low:.1f} to {100 * high:.1f})" + (
            "" if model in drawn else "  ← off scale"
        )
        axes.annotate(text, (1.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=8.5)
    teachers = [model for model in models if model["role"] == "teacher" and model["key"] in evidence.shown]
    if teachers:
        axes.axvline(_value(teachers[0]) or 0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    axes.set_yticks(list(rows), [_short(model["key"], 34) for model in models])
    axes.set_ylim(0.4, len(models) + 0.6)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.set_xlabel(f"{_words(evidence.metric)}, test (n = {models[0]['score']['n']:,}), with 95 % interval")
    _role_legend(figure, models)
    return figure


def tradeoff(evidence: Evidence) -> Figure | None:
    """Latency against task metric, marker area = bytes, with the Pareto front; constant models are left out."""
    models = [m for m in evidence.models if m["p50"] and _value(m) is not None and m["variant"] != "none"]
    if not models:
        return None
    figure = Figure((8, 6.2), layout="constrained")
    axes = figure.add_subplot()
    largest = max(model["bytes"] or 0 for model in models) or 1
    areas = [max(16.0, 900 * (model["bytes"] or 0) / largest) for model in models]
    points = [(float(model["p50"]), float(_value(model) or 0)) for model in models]
    for model, (x, y), area in zip(models, points, areas, strict=True):
        color = COLORS[model["role"]]
        axes.plot([x, x], _interval(model), color=color, linewidth=1, alpha=0.35, zorder=1)
        axes.scatter(x, y, s=area, color=color, alpha=0.6, edgecolors="white", linewidths=0.7, zorder=3)
    front = pareto_front(points)
    axes.step(*zip(*front, strict=True), where="post", color=ACCENT, linewidth=1, linestyle=(0, (4, 3)), zorder=2)
    axes.set_xscale("log")
    axes.margins(x=0.16, y=0.1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.grid()
    axes.set_xlabel("milliseconds for one text (p50, batch 1, one thread; log scale)")
    axes.set_ylabel(f"{_words(evidence.metric)}, test, with 95 % interval")
    sizes = [size for size in (_round(largest), _round(largest / 8), _round(largest / 64)) if size]
    handles = [_dot("none", f"{size / 1e6:g} MB", math.sqrt(max(16.0, 900 * size / largest)), MUTED) for size in sizes]
    handles.append(
        Line2D([], [], color=ACCENT, linestyle=(0, (4, 3)), linewidth=1, label="no model is faster and better")
    )
    _role_legend(figure, models, handles)
    _label_points(figure, axes, points, areas, [_short(model["key"], 30) for model in models])
    return figure


def training(evidence: Evidence) -> Figure | None:
    """For each trained model the training loss with its parts, and the validation metric below it."""
    runs = [run for run in evidence.training if run["history"]]
    if not runs:
        return None
    columns = min(3, len(runs))
    figure = Figure((max(5.0, 3.1 * columns), 3.7 * math.ceil(len(runs) / columns)), layout="constrained")
    grids = np.ravel(figure.subfigures(math.ceil(len(runs) / columns), columns, squeeze=False))
    score = f"val_{evidence.metric}"
    scores = [epoch[score] for run in runs for epoch in run["history"] if score in epoch]
    for run, grid in zip(runs, grids, strict=False):
        upper, lower = grid.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 2]})
        epochs = [epoch["epoch"] for epoch in run["history"]]
        for name, color in LINES:
            if name in run["history"][0]:
                upper.plot(epochs, [epoch.get(name) for epoch in run["history"]], ".-", color=color, label=_words(name))
        lower.plot(epochs, [epoch.get(score) for epoch in run["history"]], ".-", color=INK)
        for axes in (upper, lower):
            axes.axvline(run["best_epoch"], color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)))
            axes.grid(axis="y")
        upper.set_ylim(bottom=0)
        upper.set_title(_short(run["name"], 34), fontweight="bold")
        if scores:
            margin = 0.08 * (max(scores) - min(scores)) + 1e-3
            lower.set_ylim(min(scores) - margin, max(scores) + margin)
        lower.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        lower.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        lower.set_xlabel("epoch")
        lower.set_ylabel(_words(score), fontsize=8)
    handles = [Line2D([], [], color=color, marker=".", label=_words(name)) for name, color in LINES]
    handles.append(Line2D([], [], color=MUTED, linestyle=(0, (1, 2)), label="epoch that was kept"))
    figure.legend(handles=handles, loc="outside upper left", ncols=5, fontsize=8.5)
    return figure


def confusion_matrices(evidence: Evidence) -> Figure | None:
    """Truth against answer for each shown model: colour is the share of the row, the number is the count."""
    classes, models = len(evidence.label_names), evidence.panels
    if not models:
        return None
    columns = 1 if classes > 10 else min(2, len(models))
    side = 1.7 + max(2.2, 0.38 * classes)
    figure = Figure((columns * side * 1.12, math.ceil(len(models) / columns) * side), layout="constrained")
    names = [_short(name, 22) for name in evidence.label_names]
    image = None
    for index, model in enumerate(models):
        axes = figure.add_subplot(math.ceil(len(models) / columns), columns, index + 1)
        counts = confusion(evidence.labels, evidence.logits[model["key"]].argmax(axis=1), classes)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in product(range(classes), repeat=2):
            if counts[row, column]:
                color = "white" if shares[row, column] > 0.55 else INK
                text = f"{counts[row, column]}"
                axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8 if classes <= 10 else 7)
        axes.set_xticks(range(classes), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(classes), names)
        axes.tick_params(length=0, labelsize=8)
        axes.spines[:].set_visible(False)
        axes.set_title(_short(model["key"], 40), fontweight="bold")
        axes.set_xlabel("answer")
        axes.set_ylabel("truth")
    if image is not None:
        bar = figure.colorbar(image, ax=figure.axes, shrink=min(1.0, 3 / figure.get_figheight()), aspect=22, pad=0.02)
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
        bar.set_label("share of the true label's texts", fontsize=8)
        bar.outline.set_visible(False)
    return figure


def reliability_diagrams(evidence: Evidence) -> Figure | None:
    """Confidence against share right in equal-mass bins, before and after calibration."""
    models = evidence.panels
    if not models:
        return None
    columns = min(3, len(models))
    lines = math.ceil(len(models) / columns)
    figure = Figure((max(4.4, 3.0 * columns), 3.3 * lines + 0.3), layout="constrained")
    for index, model in enumerate(models):
        axes = figure.add_subplot(lines, columns, index + 1)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        for values, color, name in (
            (softmax(evidence.logits[model["key"]]), "#d55e00", "raw logits"),
            (evidence.probabilities(model), ACCENT, "as shipped (calibrated)"),
        ):
            confidences, right, _ = zip(*reliability(values, evidence.labels), strict=True)
            axes.plot(confidences, right, ".-", color=color, label=name, linewidth=1.2, markersize=6, alpha=0.9)
        low = min(0.95, 1 / len(evidence.label_names))
        axes.set(
            xlim=(low, 1.01), ylim=(0, 1.02), xlabel="confidence", ylabel="share right" if not index % columns else ""
        )
        ece = (model["metrics"].get("test") or {}).get("ece") or {}
        title = _short(model["key"], 30) + (f"\nECE {ece['value']:.1%}" if ece.get("value") is not None else "")
        axes.set_title(title, fontweight="bold")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid()
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, fontsize=8.5)
    return figure


def label_distributions(evidence: Evidence) -> Figure | None:
    """How often each label is true, and how often each shown model answers it."""
    classes, models = len(evidence.label_names), evidence.panels
    figure = Figure((8, 1.3 + classes * max(0.3, 0.12 * len(models))), layout="constrained")
    axes = figure.add_subplot()
    rows = np.arange(classes)
    truth = np.bincount(evidence.labels, minlength=classes) / max(1, len(evidence.labels))
    axes.barh(rows, truth, height=0.78, color=FAINT, label="truth")
    offsets = np.linspace(-0.28, 0.28, len(models)) if len(models) > 1 else np.zeros(1)
    for index, (model, offset) in enumerate(zip(models, offsets, strict=False)):
        color, marker = (INK, "o") if model["role"] == "teacher" else SERIES[(index - 1) % len(SERIES)]
        answers = np.bincount(evidence.logits[model["key"]].argmax(axis=1), minlength=classes)
        style = {"color": color, "marker": marker, "linestyle": "none", "markersize": 4.5}
        axes.plot(answers / answers.sum(), rows + offset, label=_short(model["key"], 26), **style)
    axes.set_yticks(rows, [_short(name, 34) for name in evidence.label_names])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.set_xlabel(f"share of the test split (n = {len(evidence.labels):,})")
    figure.legend(loc="outside upper left", ncols=4, fontsize=8.5)
    return figure


PICTURES: dict[str, Callable[[Evidence], Figure | None]] = {
    "accuracy.png": accuracy,
    "tradeoff.png": tradeoff,
    "training.png": training,
    "confusion.png": confusion_matrices,
    "reliability.png": reliability_diagrams,
    "labels.png": label_distributions,
}


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, worth) that no other beats in both, by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, worth in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or worth > front[-1][1]:
            front.append((cost, worth))
    return front


def place_labels(
    anchors: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], taken: Sequence[Box], bounds: Box
) -> list[Box]:
    """A box for each label near its anchor that touches no other label, no box in `taken` and not the bounds.

    Each label takes the first free place on rings around its anchor; when none is free, the least covered one.
    """
    placed: list[Box] = []
    for (x, y), (width, height) in zip(anchors, sizes, strict=True):
        best, best_cost = None, math.inf
        for radius, angle in product(range(6, 260, 6), range(0, 360, 15)):
            cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            left = x + radius * cosine + width * (cosine - 1) / 2
            bottom = y + radius * sine + height * (sine - 1) / 2
            box = (left, bottom, left + width, bottom + height)
            outside = max(bounds[0] - box[0], bounds[1] - box[1], box[2] - bounds[2], box[3] - bounds[3], 0)
            cost = sum(_overlap(box, other) for other in [*taken, *placed]) + width * height * (outside > 0)
            if cost < best_cost:
                best, best_cost = box, cost
            if cost == 0:
                break
        placed.append(best or (x, y, x + width, y + height))
    return placed


def _label_points(
    figure: Figure, axes: Axes, points: Sequence[tuple[float, float]], areas: Sequence[float], names: Sequence[str]
) -> None:
    """Write a name beside each marker, clear of the others, with a thin line to it where it had to go far."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # fixes the layout: pixels mean something from here on
    figure.set_layout_engine("none")
    texts = [axes.annotate(name, (0, 0), xycoords="figure pixels", fontsize=8, zorder=5) for name in names]
    extents = [text.get_window_extent(canvas.get_renderer()) for text in texts]
    anchors = [(float(x), float(y)) for x, y in axes.transData.transform(points)]
    radii = [math.sqrt(area / math.pi) * figure.dpi / 72 for area in areas]
    markers = [(x - r, y - r, x + r, y + r) for (x, y), r in zip(anchors, radii, strict=True)]
    sizes = [(extent.width + 4, extent.height + 2) for extent in extents]
    frame = axes.get_window_extent().extents
    bounds = (float(frame[0]), float(frame[1]), float(frame[2]), float(frame[3]))
    boxes = place_labels(anchors, sizes, markers, bounds)
    for text, extent, box, anchor in zip(texts, extents, boxes, anchors, strict=True):
        text.set_position((box[0] + 2 - extent.x0, box[1] + 1 - extent.y0))
        near = (min(max(anchor[0], box[0]), box[2]), min(max(anchor[1], box[1]), box[3]))
        if math.dist(near, anchor) > 8:
            ends = axes.transData.inverted().transform([anchor, near])
            axes.plot(*ends.T, color=MUTED, linewidth=0.6, zorder=4)


def _overlap(a: Box, b: Box) -> float:
    """Area that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _role_legend(figure: Figure, models: Sequence[Model], more: Sequence[Line2D] = ()) -> None:
    roles = [role for role in COLORS if any(model["role"] == role for model in models)]
    handles = [_dot("none", role, 6, COLORS[role]) for role in roles]
    figure.legend(handles=[*handles, *more], loc="outside upper left", ncols=4, fontsize=8.5)


def _dot(line: str, label: str, size: float, color: str) -> Line2D:
    return Line2D([], [], linestyle=line, marker="o", markersize=size, color=color, markeredgewidth=0, label=label)


def _value(model: Model) -> float | None:
    value = (model["score"] or {}).get("value")
    return None if value is None else float(value)


def _interval(model: Model) -> tuple[float, float]:
    """The 95 % interval, or the bare value where there is none."""
    low, high = model["score"].get("ci95") or (None, None)
    value = model["score"]["value"]
    return (value if low is None else low, value if high is None else high)


def _round(size: float) -> float:
    """The nearest smaller number that starts with 1, 2 or 5."""
    power = 10.0 ** math.floor(math.log10(max(size, 1)))
    return power * max(step for step in (1, 2, 5) if step * power <= max(size, 1))


def _short(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _words(name: str) -> str:
    words = {"nll": "NLL", "f1": "F1", "val": "validation"}
    return " ".join(words.get(word, word) for word in name.split("_"))
