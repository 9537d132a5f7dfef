"""The pictures of a search, drawn of the two files that it writes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.reporting import draw_search, search

SPACE = {
    "learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
    "epochs": {"low": 2, "high": 8, "log": False},
    "soft_weight": {"low": 0.0, "high": 1.0, "log": False},
    "layers": {"choices": [1, [0, 2]]},
}


def write(home: Path, count: int, metric: str = "nll", importance: dict[str, float] | None = None) -> search.Search:
    """A search of `count` complete trials, one that was stopped early and one that failed; trial 0 is best."""
    random = np.random.default_rng(1)
    sign = 1 if metric == "nll" else -1
    rows: list[dict[str, Any]] = []
    for number in range(count + 2):
        state = "complete" if number < count else "pruned" if number == count else "failed"
        value = 0.5 + sign * (0.01 * number if state == "complete" else 9.0)
        drawn = {"learning_rate": 10 ** random.uniform(-5, -3), "epochs": random.integers(2, 9), "soft_weight": 0.5}
        rows.append({"number": number, "state": state, **drawn, "layers": [1, [0, 2]][number % 2]})
        rows[-1]["objective"] = "" if state == "failed" else value
    with (home / "hypersearch.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    objective = {"name": metric, "value": 0.5, "judged_on": "the validation split"}
    shares = {"epochs": 0.7, "learning_rate": 0.3} if importance is None else importance
    found = {"trial": 0, "indistinguishable": [1], "objective": objective, "space": SPACE, "importance": shares}
    (home / "best_params.json").write_text(json.dumps(found))
    return search.Search(found, [{key: str(value) for key, value in row.items()} for row in rows])


def test_both_are_drawn(tmp_path: Path) -> None:
    write(tmp_path, 6)
    assert draw_search(tmp_path) == ["importance.png", "slice.png"]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("importance.png", "slice.png"))
    write(tmp_path, 6, importance={})
    assert draw_search(tmp_path) == ["slice.png"]
    assert not (tmp_path / "importance.png").exists()


@pytest.mark.parametrize(("metric", "marker"), [("nll", "^"), ("accuracy", "v")])
def test_every_trial_is_in_every_panel(tmp_path: Path, metric: str, marker: str) -> None:
    figure = search.slices(write(tmp_path, 6, metric))
    assert figure is not None
    assert [axes.get_xlabel() for axes in figure.axes] == list(SPACE)
    for axes in figure.axes:
        points = [line for line in axes.get_lines() if line.get_linestyle() == "None"]
        assert len(points) == 7  # the failed one has no value
        assert [line.get_marker() for line in points].count(marker) == 1  # far beyond the others
        low, high = axes.get_ylim()
        assert all(low <= line.get_ydata()[0] <= high for line in points)
        left, right = axes.get_xlim()
        assert all(left <= line.get_xdata()[0] <= right for line in points)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [
        "stopped early",
        "worse than the best",
        "not told apart from the best",
        "best trial",
        "beyond the edge",
    ]
    assert figure.axes[0].get_xscale() == "log"
    assert [tick.get_text() for tick in figure.axes[3].get_xticklabels()] == ["1", "[0, 2]"]


@pytest.mark.parametrize(("count", "words"), [(6, "only 6 trials: rough"), (20, "20 trials")])
def test_importance_says_on_how_many_trials_it_rests(tmp_path: Path, count: int, words: str) -> None:
    figure = search.importance(write(tmp_path, count))
    assert figure is not None
    assert figure.axes[0].get_xlabel() == f"share in the variation of NLL (PED-ANOVA, {words})"
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["epochs", "learning_rate"]


def test_a_single_trial_can_be_drawn(tmp_path: Path) -> None:
    found = write(tmp_path, 1)
    assert search.slices(search.Search(found.found, found.rows[:1])) is not None
    assert search.slices(search.Search(found.found, found.rows[2:])) is None
