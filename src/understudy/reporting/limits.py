"""A budget in words: its limits, and how far off a model is. Takes what `fitting` writes into JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .formats import digits

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
