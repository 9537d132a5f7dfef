"""How a text becomes tokens: the same in training and at prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Truncation = Literal["head", "head_tail"]


@dataclass(frozen=True)
class TextConfig:
    """Normalisation steps, the most tokens that are kept of a text, and which of a longer one."""

    normalize: tuple[str, ...]
    max_length: int
    truncation: Truncation = "head"

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> TextConfig:
        """What `to_dict` wrote; raises KeyError, TypeError or ValueError."""
        return cls(tuple(raw["normalize"]), int(raw["max_length"]), raw.get("truncation", "head"))

    def to_dict(self) -> dict[str, Any]:
        """As JSON; `truncation` only if it is not the usual one, so that the digests of older artifacts hold."""
        kept = {"truncation": self.truncation} if self.truncation != "head" else {}
        return {"normalize": self.normalize, "max_length": self.max_length, **kept}
