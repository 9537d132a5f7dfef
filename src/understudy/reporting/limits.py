"""A budget in words: its limits, and how far off a model is. Takes what `fitting` writes into JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .formats import digits, megabytes, percent
from .view import Results, metric_name

UNKNOWN = {"max_mb": "its size is not known", "min_retention": "what it keeps is not known"}


def limits_in_words(limits: Mapping[str, Any], percentile: str, metric: str) -> str:
    """All limits: at most 2 MB, at least 98 % of the teacher's accuracy."""
    words = {
        "max_latency_ms": f"at most {{:g}} ms for one text ({percentile})",
        "max_mb": "at most {:g} MB",
        "min_throughput": "at least {:,g} texts/s",
        "min_retention": f"at least {{:.4g}} % of the teacher's {metric}",
    }
    said = (words[name].format(100 * limit if name == "min_retention" else limit) for name, limit in limits.items())
    return ", ".join(said) or "no limit"


def misses_in_words(misses: Sequence[Mapping[str, Any]]) -> str:
    """How far off it is, limit by limit."""
    return ", ".join(map(_miss, misses))


def _miss(miss: Mapping[str, Any]) -> str:
    limit, off = miss["limit"], miss["by"]
    if off is None:
        return UNKNOWN.get(limit, "it was not timed")
    return {
        "max_latency_ms": f"{digits(off)} ms too slow",
        "max_mb": f"{digits(off)} MB too large",
        "min_throughput": f"{digits(off)} texts/s too slow",
        "min_retention": f"{digits(100 * off)} % of the teacher's too little",
    }[str(limit)]


def try_in_words(file: Mapping[str, Any]) -> str:
    """What a file of a tried student is on validation, and whether it fits."""
    return f"{_file(file)}: {misses_in_words(file['misses']) or 'fits the budget'}"


def about_budget(results: Results) -> list[str]:
    """Which file met the budget of a run, after which tries; or the nearest misses."""
    budget = results["budget"]
    if not budget:
        return []
    asked = limits_in_words(budget["limits"], budget["percentile"], metric_name(results))
    files = {file["key"]: file for file in budget["files"]}
    tried, left = ", ".join(budget["tried"]), ", ".join(budget["not_tried"])
    said = f"Budget ({asked}), on validation (n = {budget['n']:,}), tried from the cheapest up: {tried}."
    if budget["met"]:
        rest = f" Not tried, dearer: {left}." if left else ""
        return [f"{said} Met by {_file(files[budget['met']])}.{rest}"]
    near = [f"{_file(files[key])}: {misses_in_words(files[key]['misses'])}" for key in budget["nearest"]]
    return [f"{said} None meets it. Nearest: {'; '.join(near)}."]


def _file(file: Mapping[str, Any]) -> str:
    kept, latency, rate = percent(file["retention"]).text, file["latency_ms"].get("p50"), file["texts_per_second"]
    return (
        f"{file['key']} ({kept} % of the teacher's kept, {megabytes(file['bytes']).text} MB, {digits(latency)} ms, "
        f"{digits(rate)} texts/s)"
    )
