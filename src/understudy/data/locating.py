"""Where a recipe's name of a split leads: a file, or a split of a hub data set."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from .formats import SUFFIXES
from .hub import load_hub
from .reading import Source

_ALIASES = ("validation", "val", "dev")
_ORDER = (".parquet", ".jsonl", ".csv", ".tsv")


def locate(name: str, hub: str, hub_config: str, base: Path | None) -> Source:
    """Find a split: a path (relative to `base`), a split of `hub`, or with both its file in the directory `base`."""
    if not hub or name.lower().endswith(SUFFIXES):
        return (base or Path()) / name
    if base is None:
        return load_hub(hub, hub_config, name)
    stems = [name, *(alias for alias in _ALIASES if name in _ALIASES and alias != name)]
    for stem in stems:
        for suffix in _ORDER:
            if (path := base / f"{stem}{suffix}").is_file():
                return path
    raise DataError(f"{base}: no file for split '{name}'; expected {' or '.join(stems)} with {', '.join(_ORDER)}")
