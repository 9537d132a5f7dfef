"""May one model take another's place? A paired verdict on the same labelled texts, and the answers that change."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .answers import Answers
from .data.formats import Chunk
from .data.tables import Table
from .data.task import Labels, Split, Task
from .data.writing import WRITERS, check_target, output
from .errors import InputError
from .estimates import paired_shares
from .kinds import OF_TEXTS
from .metrics import paired_lower_bound

_POWER = 2.486  # normal quantiles of 95 % and 80 %, summed


def upgrade(
    pair: Mapping[str, Any],
    answers: Mapping[str, Answers],
    split: Split,
    task: Task,
    margin: float | None,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Whether `second` may take the place of `first` in a pair that `compare` made.

    `difference` is second − first in the task metric, `lower95` its one-sided 95 % bound. `second` is not worse by more
    than a `margin`, a share of 1 that was chosen beforehand, if that bound lies above −margin (non-inferiority). For
    accuracy both are by Bonett and Price (2012), for other metrics by a paired bootstrap, which is too sure of itself
    where few answers change. `said` has all of it in sentences.
    """
    first, second, n = pair["first"], pair["second"], len(split)
    fixed, broken = pair["mcnemar"]["only_second"], pair["mcnemar"]["only_first"]
    one, two = answers[first].labels, answers[second].labels
    if task.metric in OF_TEXTS:
        interval, lower = paired_shares(fixed, broken, n), paired_shares(fixed, broken, n, 0.9)[0]
    else:
        interval = tuple(sorted(-bound for bound in pair["difference"]["ci95"]))
        lower = paired_lower_bound(split.labels, one, two, task.metric, resamples, seed)
    verdict = "better" if interval[0] > 0 else "worse" if interval[1] < 0 else "not distinguishable"
    difference = {"value": 0.0 - pair["difference"]["value"], "ci95": list(interval), "n": n}
    found = {
        "verdict": verdict, "margin": margin, "not_worse_by_margin": None if margin is None else lower > -margin,
        "metric": task.metric, "difference": difference, "lower95": lower, "mcnemar_p": pair["mcnemar"]["p"],
        "changed": int(_differ(one, two).sum()), "fixed": fixed, "broken": broken,
        "by_label": _by_label(split.labels, one, two, task),
    }  # fmt: skip
    return found | {"said": _said(first, second, found)}


def fails(found: Mapping[str, Any]) -> bool:
    """Whether an upgrade should not be made: it is shown to be worse, or a margin is not shown to be kept."""
    return found["verdict"] == "worse" if found["margin"] is None else not found["not_worse_by_margin"]


def check_changes(data: Path, target: Path) -> None:
    """Raise InputError, before any work, for a file that the changes cannot be written to."""
    if target.suffix != ".csv":
        raise InputError(f"{target}: changes are written as CSV; choose a name that ends in .csv")
    if target.is_file():
        raise InputError(f"{target}: exists; choose another name or remove it")
    check_target(data, target, overwrite=False)
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"{target}: {target.parent} cannot be written to; choose another name")


def write_changes(target: Path, task: Task, split: Split, before: Answers, after: Answers) -> None:
    """CSV of the texts whose answer changes, the broken ones first: id, text, gold, change, before, after.

    `change` is broken, fixed or wrong (before and after). Of a task of one label per text the confidence of both
    answers, too. A ' stands before cells that a spreadsheet would run as a formula.
    """
    kinds = np.array(["wrong", "fixed", "broken"])
    was, now = (~_differ(answer.labels, split.labels) for answer in (before, after))
    kind = np.where(was, 2, np.where(now, 1, 0))
    rows = np.flatnonzero(_differ(before.labels, after.labels))
    rows = rows[np.argsort(-kind[rows], kind="stable")]
    columns: dict[str, list[Any]] = {"gold": task.named(split.labels[rows]), "change": kinds[kind[rows]].tolist()}
    for name, answer in (("before", before), ("after", after)):
        columns[name] = task.named(answer.labels[rows])
        if not task.multi:
            columns[f"{name}_confidence"] = answer.probabilities[rows].max(axis=1).tolist()
    texts = split.take(rows)
    chunk = Chunk(0, [{"id": name, "text": text} for name, text in zip(texts.ids, texts.texts, strict=True)])
    table = Table(str(target), dict.fromkeys(("id", "text")), len(texts), ())
    with (
        output(target, overwrite=False) as file,
        WRITERS[".csv"](file, table, list(columns), True, task.multi) as write,
    ):
        write(chunk, None, columns)


def _by_label(gold: Labels, one: Labels, two: Labels, task: Task) -> list[dict[str, Any]]:
    """Fixed and broken among the texts of each gold label; of several labels, decisions about it."""
    rows = []
    for index, name in enumerate(task.labels):
        there = slice(None) if task.multi else gold == index
        truth, before, after = (part[there, index] if task.multi else part[there] for part in (gold, one, two))
        fixed, broken = ((before != truth) & (after == truth)).sum(), ((before == truth) & (after != truth)).sum()
        rows.append({"label": name, "n": len(truth), "fixed": int(fixed), "broken": int(broken)})
    return rows


def _differ(a: Labels, b: Labels) -> NDArray[np.bool_]:
    differ: NDArray[np.bool_] = a != b
    return differ if differ.ndim == 1 else np.any(differ, axis=1)


def _said(first: str, second: str, found: Mapping[str, Any]) -> list[str]:
    """The verdict with its figures, and what changes."""
    difference, n = found["difference"], found["difference"]["n"]
    low, high = difference["ci95"]
    bound = "" if found["margin"] is None else f"; one-sided 95 % bound {_points(found['lower95'])}"
    verdict = (
        f"{_verdict(first, second, found)}: {found['metric'].replace('_', ' ')} {_points(difference['value'])} points "
        f"(95 % interval {_points(low)} to {_points(high)}{bound}; n = {n:,}; McNemar p = {found['mcnemar_p']:.2g})."
    )
    if not found["changed"]:
        return [verdict, "No answer changes."]
    changes = (
        f"{found['changed']:,} of {n:,} answers change: {found['fixed']:,} fixed, {found['broken']:,} broken, "
        f"{found['changed'] - found['fixed'] - found['broken']:,} wrong before and after.{_enough(found)}"
    )
    return [verdict, changes]


def _verdict(first: str, second: str, found: Mapping[str, Any]) -> str:
    verdict, margin = found["verdict"], found["margin"]
    said = f"{second} is {verdict} {'from' if verdict == 'not distinguishable' else 'than'} {first}"
    if margin is None or verdict == "better":
        return said
    loss = f"more than {100 * margin:g} point{'' if margin == 0.01 else 's'}"
    if found["not_worse_by_margin"]:
        same = f"{second} is not worse than {first} by {loss}"
        return f"{said}, but not by {loss}" if verdict == "worse" else same
    if found["difference"]["ci95"][1] < -margin:
        return f"{said} by {loss}"
    return f"{said}, and a loss of {loss} is not ruled out"


def _enough(found: Mapping[str, Any]) -> str:
    """How many texts would settle what these left open, were both as good and as often at odds: (z·√ψ/margin)²."""
    open_ = found["verdict"] == "not distinguishable" and found["not_worse_by_margin"] is False
    if not open_ or found["metric"] not in OF_TEXTS:
        return ""
    share = (found["fixed"] + found["broken"] + 2) / (found["difference"]["n"] + 2)
    texts = share * (_POWER / found["margin"]) ** 2
    return f" About {float(f'{texts:.2g}'):,.0f} texts would settle it."


def _points(share: float) -> str:
    return f"{round(100 * share, 2) + 0.0:+.2f}".replace("-", "−")
