"""The pictures of the report: names that stay apart, labels that stay clear, the front."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from invented import EMOTIONS, simulate
from understudy.reporting import plots
from understudy.reporting.placement import overlap, place_labels
from understudy.reporting.stage import read_logits
from understudy.reporting.view import Evidence, prepared


@pytest.mark.parametrize("labels", [EMOTIONS[:2], [f"a rather long name of a label, number {i}" for i in range(20)]])
def test_pictures_of_few_and_many_labels(labels: Sequence[str], tmp_path: Path) -> None:
    source = simulate(tmp_path / "benchmark", labels, rows=200)
    found = prepared(json.loads((source / "results.json").read_text()))
    truth, logits = read_logits(source, found["models"])
    evidence = Evidence(found["models"], [], labels, "accuracy", truth, logits, ["teacher/fp32", "cut3/int8"])
    figure = plots.confusion_matrices(evidence)
    assert figure is not None and len(figure.axes) == 2
    ticks = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(set(ticks)) == len(labels)  # shortened names still differ


def test_no_label_of_fourteen_models_overlaps() -> None:
    generator = np.random.default_rng(3)
    bounds = (0.0, 0.0, 1000.0, 800.0)
    for _ in range(8):
        anchors = [(float(x), float(y)) for x, y in generator.normal((500, 400), (60, 40), (14, 2))]
        markers = [(x - 9, y - 9, x + 9, y + 9) for x, y in anchors]
        boxes = place_labels(anchors, [(130.0, 18.0)] * 14, markers, bounds)
        assert boxes == place_labels(anchors, [(130.0, 18.0)] * 14, markers, bounds)
        for index, box in enumerate(boxes):
            assert sum(overlap(box, other) for other in [*boxes[:index], *markers]) < 1e-6
            assert box[0] >= 0 and box[1] >= 0 and box[2] <= 1000 and box[3] <= 800


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    assert plots.pareto_front([(3, 0.9), (1, 0.5), (2, 0.4), (2, 0.7), (4, 0.9)]) == [(1, 0.5), (2, 0.7), (3, 0.9)]
