"""The picture of what a cascade's certificate rests on: the risk at each threshold that was tested."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .drawing import ACCENT, DASHED, INK, ORANGE, percent, short
from .view import Evidence, Results

_RISKS = {"agreement": "another answer than the large model's", "risk": "errors beyond the large model's"}
_ABREAST = 3


def certified_curves(evidence: Evidence) -> Figure | None:
    """The risk that was seen against the share answered without the large model; a panel per cascade."""
    found = {model["key"]: model["cascade"]["certificate"] or {} for model in evidence.models if "cascade" in model}
    certificates = {key: certificate for key, certificate in found.items() if certificate.get("tested")}
    if not certificates:
        return None
    columns = min(_ABREAST, len(certificates))
    lines = math.ceil(len(certificates) / columns)
    figure = Figure((4.2 * columns + 0.4, 3.2 * lines + 0.4), layout="constrained")
    for place, (key, certificate) in enumerate(certificates.items()):
        axes = figure.add_subplot(lines, columns, place + 1)
        _curve(axes, certificate)
        axes.set_title(short(key, 40))
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


def _curve(axes: Axes, certificate: Results) -> None:
    points = [(1 - point["deferred"], point["risk"]) for point in certificate["tested"]]
    promised = [point["p"] <= 1 - certificate["confidence"] for point in certificate["tested"]]
    certified = [point for point, held in zip(points, promised, strict=True) if held][-1]
    axes.plot(
        *zip(*points, strict=True), color=ACCENT, linewidth=1.2, marker=".", markersize=3, label="thresholds tested"
    )
    axes.plot(*certified, "o", color=INK, markersize=6, linestyle="none", label="certified")
    axes.axhline(certificate["level"], color=ORANGE, linewidth=1, linestyle=DASHED, label="level")
    axes.set_xlim(0, 1.01)
    axes.set(xlabel="share answered without the large model", ylabel=_RISKS[certificate["target"]])
    axes.xaxis.set_major_formatter(percent)
    axes.yaxis.set_major_formatter(percent)
    axes.grid()
