"""The task metric of a model as it is shown: of several seeds their mean, spread and interval."""

from __future__ import annotations

from .formats import Cell, percent
from .view import Model, Results


def score_cell(results: Results, model: Model) -> Cell:
    """On the test split; of several seeds mean ± standard deviation, with the interval over seeds and texts."""
    seeds = model.get("seeds")
    return mean_cell(seeds["metrics"][results["task_metric"]]) if seeds else percent(model["score"])


def mean_cell(found: Model) -> Cell:
    """What results.json says of one metric over several seeds."""
    mean = percent({"value": found["mean"], "ci95": found["ci95"]})
    return Cell(f"{mean.text} ± {percent(found['std']).text}", mean.detail)


def seeds_note(results: Results) -> str:
    """What ± means, as a sentence; nothing where every model has one seed."""
    counts = sorted({len(model["seeds"]["files"]) for model in results["models"] if model.get("seeds")})
    if not counts:
        return ""
    many = " or ".join(map(str, counts))
    return f"±: standard deviation of {many} seeds; all else is of seed {results['seed']}."
