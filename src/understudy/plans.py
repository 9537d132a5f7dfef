"""What determines the result of a piece of work, and what differs between two."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from .files import sha256_of_json

FORMAT = 1  # of what the work leaves behind


@dataclass(frozen=True)
class Plan:
    """Equal plans need not be worked twice."""

    stage: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    seed: int = 0

    @cached_property
    def key(self) -> str:
        """SHA-256 of the plan."""
        return sha256_of_json({"format": FORMAT, **asdict(self)})

    def changes(self, config: Mapping[str, Any], inputs: Mapping[str, str], seed: int) -> list[str]:
        """What differs between finished work, as its manifest has it, and this plan, by name."""
        return [
            *(f"another {name}" for name in self.inputs if inputs.get(name) != self.inputs[name]),
            *_changed_keys(config, json.loads(json.dumps(dict(self.config)))),
            *(["seed"] if seed != self.seed else []),
        ]


def _changed_keys(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    changed: list[str] = []
    for name in sorted(set(old) | set(new)):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            changed += _changed_keys(before, after, f"{prefix}{name}.")
        elif before != after:
            changed.append(f"{prefix}{name}")
    return changed
