"""Whether a model fits limits of quality, size and speed, and by how much it misses them: all on validation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .answers import Answers
from .budget_settings import Limits
from .data.task import Labels
from .estimates import Estimate
from .metrics import retention, task_score

Rows = Sequence[Mapping[str, Any]]
Drawn = tuple[str, int, int]  # metric, bootstrap resamples, seed


@dataclass(frozen=True)
class Miss:
    """A limit that is not kept; `got` is None where it was not measured."""

    limit: str
    wanted: float
    got: float | None

    @property
    def share(self) -> float:
        """How far it is off, as a share of the limit."""
        return float("inf") if self.got is None else abs(self.got - self.wanted) / self.wanted

    def to_dict(self) -> dict[str, Any]:
        """As in JSON."""
        off = None if self.got is None else abs(self.got - self.wanted)
        return {"limit": self.limit, "wanted": self.wanted, "got": self.got, "by": off}


@dataclass(frozen=True)
class Candidate:
    """A file of a model: its task metric on validation, that as a share of the teacher's, its size and its speed."""

    key: str  # name/variant
    quality: Estimate
    retention: Estimate | None  # None: the teacher's answers on validation are not known
    bytes: int | None
    latency: Mapping[str, float] = field(default_factory=dict)  # percentile → ms for one text, on one thread
    rate: float | None = None  # texts/s, on one thread at the best batch size

    def to_dict(self, limits: Limits | None = None) -> dict[str, Any]:
        """As in JSON, with what it misses of limits."""
        retention = self.retention and self.retention.to_dict()
        missed = {"misses": [miss.to_dict() for miss in misses(self, limits)]} if limits else {}
        return {
            "key": self.key, "quality": self.quality.to_dict(), "retention": retention, "bytes": self.bytes,
            "latency_ms": dict(self.latency), "texts_per_second": self.rate, **missed,
        }  # fmt: skip


def candidate(
    key: str, answers: Answers, teacher: Answers | None, truth: Labels, size: int | None, speed: Rows, drawn: Drawn
) -> Candidate:
    """A file from its answers on validation and the teacher's, and the rows of its measurement of speed."""
    kept = None if teacher is None else retention(truth, answers.labels, teacher.labels, *drawn)
    return Candidate(key, task_score(truth, answers.labels, *drawn), kept, size, **speed_of(speed))


def candidate_from(row: Mapping[str, Any]) -> Candidate:
    """What `Candidate.to_dict` wrote."""
    quality, retention = (found and _estimate(found) for found in (row["quality"], row["retention"]))
    assert quality is not None
    return Candidate(row["key"], quality, retention, row["bytes"], row["latency_ms"], row["texts_per_second"])


def _estimate(row: Mapping[str, Any]) -> Estimate:
    value, low, high = (math.nan if number is None else number for number in (row["value"], *row["ci95"]))
    return Estimate(value, low, high, row["n"])


def speed_of(rows: Rows) -> dict[str, Any]:
    """`latency` and `rate` of a candidate, from the rows of a measurement of speed."""
    single = [row for row in rows if row["threads"] == 1]
    alone = next((row for row in single if row["batch"] == 1), {})
    latency = {name: float(alone[name]) for name in ("p50", "p95", "p99") if name in alone}
    rates = [row["texts_per_second"] for row in single if row["texts_per_second"]]
    return {"latency": latency, "rate": max(rates, default=None)}


def misses(candidate: Candidate, limits: Limits) -> list[Miss]:
    """Every limit that the candidate does not keep; what was not measured keeps none."""
    retention = candidate.retention.to_dict()["value"] if candidate.retention else None
    got = {
        "max_latency_ms": candidate.latency.get(limits.percentile),
        "max_mb": None if candidate.bytes is None else candidate.bytes / 1e6,
        "min_throughput": candidate.rate,
        "min_retention": retention,
    }
    return [
        Miss(name, wanted, got[name])  # type: ignore[arg-type]  # an Estimate's value is a float or None
        for name, wanted in limits.given.items()
        if not _kept(name, wanted, got[name])
    ]


def _kept(name: str, wanted: float, got: Any) -> bool:
    if got is None:
        return False
    return bool(got <= wanted if name.startswith("max") else got >= wanted)


def best(candidates: Sequence[Candidate], limits: Limits) -> Candidate | None:
    """Of those that fit the one with the highest validation metric; of equals the smallest, then the fastest."""
    fitting = [candidate for candidate in candidates if not misses(candidate, limits)]
    return max(fitting, key=_worth, default=None)


def _worth(candidate: Candidate) -> tuple[float, float, float]:
    size, latency = candidate.bytes, candidate.latency.get("p50")
    return (
        candidate.quality.value,
        -float("inf") if size is None else -size,
        -float("inf") if latency is None else -latency,
    )


def nearest(candidates: Sequence[Candidate], limits: Limits, count: int = 3) -> list[Candidate]:
    """Those that miss the limits by the smallest share, the one that they miss most counting."""
    off = {one.key: max((miss.share for miss in misses(one, limits)), default=0.0) for one in candidates}
    return sorted(candidates, key=lambda one: (off[one.key], -one.quality.value))[:count]
