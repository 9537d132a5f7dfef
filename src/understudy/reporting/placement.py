"""Names beside the markers of a picture, clear of everything else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from .drawing import MUTED

Box = tuple[float, float, float, float]  # left, bottom, right, top


def label_points(
    figure: Figure,
    axes: Axes,
    points: Sequence[tuple[float, float]],
    radii: Sequence[float],
    names: Sequence[str],
    front: Sequence[tuple[float, float]],
) -> None:
    """Write a name beside each marker, clear of markers, names and front, with a thin line where it had to go far."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()  # fixes the layout: pixels mean something from here on
    figure.set_layout_engine("none")
    texts = [axes.annotate(name, (0, 0), xycoords="figure pixels", fontsize=8, zorder=5) for name in names]
    extents = [text.get_window_extent(canvas.get_renderer()) for text in texts]
    pixels = figure.dpi / 72
    anchors = [(float(x), float(y)) for x, y in axes.transData.transform(points)]
    taken = [(x - r, y - r, x + r, y + r) for (x, y), r in zip(anchors, (r * pixels for r in radii), strict=True)]
    for (x, y), (right, top) in pairwise((float(x), float(y)) for x, y in axes.transData.transform(front)):
        taken += [(x, y - 1, right, y + 1), (right - 1, y, right + 1, top)]
    sizes = [(extent.width + 6, extent.height + 4) for extent in extents]
    frame = axes.get_window_extent()
    boxes = place_labels(anchors, sizes, taken, (frame.x0, frame.y0, frame.x1, frame.y1))
    for text, extent, box, anchor, radius in zip(texts, extents, boxes, anchors, radii, strict=True):
        text.set_position((box[0] + 3 - extent.x0, box[1] + 2 - extent.y0))
        text.set_path_effects([withStroke(linewidth=2, foreground="white")])
        near = (min(max(anchor[0], box[0]), box[2]), min(max(anchor[1], box[1]), box[3]))
        if math.dist(near, anchor) > radius * pixels + 12:
            axes.plot(*axes.transData.inverted().transform([anchor, near]).T, color=MUTED, linewidth=0.6, zorder=2)


def place_labels(
    anchors: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], taken: Sequence[Box], bounds: Box
) -> list[Box]:
    """A box for each label near its anchor that touches no other label, no box in `taken` and not the bounds.

    Each label takes the first free place on rings around its anchor; when none is free, the least covered one.
    """
    placed: list[Box] = []
    for (x, y), (width, height) in zip(anchors, sizes, strict=True):
        best, least = (x, y, x + width, y + height), math.inf
        for radius, angle in product(range(8, 240, 6), range(0, 360, 15)):
            cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            left, bottom = x + radius * cosine + width * (cosine - 1) / 2, y + radius * sine + height * (sine - 1) / 2
            box = (left, bottom, left + width, bottom + height)
            covered = sum(overlap(box, other) for other in (*taken, *placed)) + width * height - overlap(box, bounds)
            if covered < least - 1e-6:
                best, least = box, covered
            if covered < 1e-6:
                break
        placed.append(best)
    return placed


def overlap(a: Box, b: Box) -> float:
    """Area that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
