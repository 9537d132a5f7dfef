"""The pictures of the report: names that stay apart, labels that stay clear, the front."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from invented import EMOTIONS, history, simulate
from understudy.recording import read_logits
from understudy.reporting import plots
from understudy.reporting.frontier import pareto_front
from understudy.reporting.placement import overlap, place_labels
from understudy.reporting.view import Evidence, prepared


@pytest.mark.parametrize("labels", [EMOTIONS[:2], [f"a rather long name of a label, number {i}" for i in range(20)]])
def test_pictures_of_few_and_many_labels(labels: Sequence[str], tmp_path: Path) -> None:
    source = simulate(tmp_path / "benchmark", labels, rows=200)
    found = prepared(json.loads((source / "results.json").read_text()))
    truth, logits = read_logits(source, [model["key"] for model in found["models"]])
    evidence = Evidence(found["models"], [], labels, "accuracy", truth, logits, ["teacher/fp32", "cut3/int8"])
    figure = plots.confusion_matrices(evidence)
    assert figure is not None and len(figure.axes) == 2
    ticks = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(set(ticks)) == len(labels)  # shortened names still differ


@pytest.mark.parametrize(("metric", "below"), [("accuracy", ("val_accuracy", "val_macro_f1")),
                                               ("macro_f1", ("val_macro_f1",))])  # fmt: skip
def test_the_training_curves_hold_loss_scores_and_learning_rate(metric: str, below: tuple[str, ...]) -> None:
    runs = [history(name, name != "cut3") for name in ("teacher", "cut3", "small", "cut3-no-teacher")]
    figure = plots.training(Evidence([], runs, EMOTIONS, metric, np.zeros(0, int), {}, []))
    assert figure is not None and len(figure.axes) == 3 * 2 * 3  # three panels each, two rows of three columns
    for column, run in enumerate(runs[:3]):
        curves = [[list(line.get_ydata()) for line in figure.axes[3 * row + column].lines] for row in range(3)]
        records = run["history"]
        assert [record["val_nll"] for record in records] in curves[0]
        assert [curve for curve in curves[1] if len(curve) > 2] == [[r[name] for r in records] for name in below]
        assert [record["learning_rate"] for record in records] in curves[2]
    figure.savefig(io.BytesIO())


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
    assert pareto_front([(3, 0.9), (1, 0.5), (2, 0.4), (2, 0.7), (4, 0.9)]) == [(1, 0.5), (2, 0.7), (3, 0.9)]
