"""The kinds of task, one label per text or any number of them, and of twins: what settings and files know of that."""

from __future__ import annotations

from typing import Literal

Kind = Literal["single", "multi"]
Metric = Literal["accuracy", "macro_f1", "macro_recall", "micro_f1", "subset_accuracy"]

METRICS: dict[Kind, tuple[Metric, ...]] = {  # the first is the default
    "single": ("accuracy", "macro_f1", "macro_recall"),
    "multi": ("micro_f1", "macro_f1", "subset_accuracy"),
}
OF_TEXTS = ("accuracy", "subset_accuracy")  # metrics that are a share of the texts, as McNemar's test counts them
NO_TEACHER, HARD_LABEL = TWINS = ("no-teacher", "hard-label")  # how a student's twins learn, and end their names
SEPARATOR = "|"  # between the labels of a text, where they stand in one cell of a table


def check_metric(kind: Kind, key: str, metric: str, others: tuple[str, ...] = ()) -> None:
    """Raise ValueError for a metric that a task of this kind has not; `others` may stand in its place."""
    if metric not in (*METRICS[kind], *others):
        raise ValueError(
            f"{key} = {metric} is not for a task of kind {kind}: choose {', '.join((*others, *METRICS[kind]))}"
        )
