"""What the pictures have in common: colours, style, axes, legends, names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .view import Model

INK, ACCENT, MUTED, FAINT = "#1f2933", "#0072b2", "#8a939e", "#d5dae0"
ORANGE, GREEN, PURPLE = "#d55e00", "#009e73", "#cc79a7"
DASHED = (0, (4, 3))
COLORS = {"teacher": INK, "student": ACCENT, "control": MUTED}
SERIES = [(ACCENT, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"), ("#e69f00", "v"), ("#56b4e9", "P")]
LINES = [
    ("loss", INK), ("soft_loss", ACCENT), ("hard_loss", ORANGE), ("val_nll", GREEN), ("hidden_loss", "#56b4e9"),
    ("attention_loss", "#e69f00"),
]  # fmt: skip
STYLE: Any = {
    "font.family": ["DejaVu Sans"], "font.size": 9, "text.color": INK, "figure.dpi": 150, "savefig.dpi": "figure",
    "text.parse_math": False,  # a label may hold two dollar signs
    "axes.edgecolor": MUTED, "axes.labelcolor": INK, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlelocation": "left", "axes.titlesize": 9.5, "axes.titleweight": "bold", "axes.axisbelow": True,
    "grid.color": FAINT, "grid.linewidth": 0.6, "xtick.color": INK, "ytick.color": INK,
    "legend.frameon": False, "legend.fontsize": 8.5, "figure.constrained_layout.h_pad": 0.1,
}  # fmt: skip


def interval(axes: Axes, model: Model, row: float) -> None:
    """A model's interval as a bar in its row."""
    if model["low"] is not None:
        ends, color = [model["low"], model["high"]], COLORS[model["role"]]
        axes.plot(ends, [row, row], color=color, linewidth=2, alpha=0.45, solid_capstyle="round")


def named_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names on the left, the first on top; shares along the bottom."""
    axes.set_yticks(range(len(names)), [short(name, 34) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.xaxis.set_major_formatter(percent)


def role_legend(figure: Figure, models: Sequence[Model], more: Sequence[Line2D] = ()) -> None:
    """What the colours mean, above the picture, and `more`."""
    roles = [role for role in COLORS if any(model["role"] == role for model in models)]
    handles = [*(dot(role, 6, COLORS[role]) for role in roles), *more]
    figure.legend(handles=handles, loc="outside upper left", ncols=4, labelspacing=0.9)


def dot(label: str, size: float, color: str) -> Line2D:
    """A marker for a legend."""
    return Line2D([], [], linestyle="none", marker="o", markersize=size, color=color, markeredgewidth=0, label=label)


def percent(value: float, _: object) -> str:
    """A share, as an axis writes it."""
    return f"{round(100 * value, 4):g} %"


def short(text: str, limit: int) -> str:
    """The text on one line, its middle left out where it is too long: names often differ at the end."""
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[len(text) - (limit - limit // 2 - 1) :]}"


def words(name: str) -> str:
    """A key of the results, as it is read."""
    words = {"nll": "NLL", "f1": "F1", "val": "validation"}
    return " ".join(words.get(word, word) for word in name.split("_"))
