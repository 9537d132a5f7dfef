"""What `cascade` promises, and on which texts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .sections import Section


class CascadeConfig(Section):
    """A promise: for which risk, how small, how sure."""

    target: Literal["agreement", "risk"] = Field(
        "agreement", description="agreement: how often the answer is not that of the large model (no gold labels "
        "needed); risk: the cascade's error minus that of the large model",
    )  # fmt: skip
    level: float = Field(0.01, gt=0, le=0.5, description="the risk that is not to be reached")
    confidence: float = Field(
        0.95, ge=0.5, lt=1, description="probability, over the texts of the certificate, that its promise holds"
    )
