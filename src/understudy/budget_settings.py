"""[budget], and the same limits as flags of `choose`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .sections import Section

Limit = Annotated[float, Field(ge=0)]
SPEED_AND_SIZE = ("max_latency_ms", "max_mb", "min_throughput")


class Limits(Section):
    """What a model may take, and what it must keep; 0: no limit."""

    max_latency_ms: Limit = Field(0.0, description="most milliseconds for one text, on one thread; 0: no limit")
    max_mb: Limit = Field(0.0, description="most megabytes (10^6 bytes) of all that prediction reads; 0: no limit")
    min_retention: float = Field(
        0.0, ge=0, le=1, description="least share of the teacher's task metric, on validation; 0: no limit"
    )
    min_throughput: Limit = Field(
        0.0, description="least texts per second, on one thread at the best batch size; 0: no limit"
    )
    percentile: Literal["p50", "p95", "p99"] = Field(
        "p50", description="which percentile of the latencies max_latency_ms is a limit of"
    )

    @property
    def given(self) -> dict[str, float]:
        """The limits that are set."""
        return {name: value for name in (*SPEED_AND_SIZE, "min_retention") if (value := getattr(self, name))}

    @model_validator(mode="after")
    def _read(self) -> Self:
        if "percentile" in self.model_fields_set and not self.max_latency_ms:
            raise ValueError("percentile is that of max_latency_ms, which is not set: set it, or remove percentile")
        return self


class BudgetConfig(Limits):
    """What the student must fit: students are tried from the cheapest up, and the first that fits is the last tried."""

    @model_validator(mode="after")
    def _both(self) -> Self:
        if not self.min_retention or not any(getattr(self, name) for name in SPEED_AND_SIZE):
            raise ValueError(f"set min_retention and at least one of {', '.join(SPEED_AND_SIZE)}")
        return self
