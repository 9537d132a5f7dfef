"""Where a recipe's name of a split leads: a file, or a split of a hub data set."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from ..hub import urls
from ..hub.names import is_url
from .formats import SUFFIXES
from .hub import load_hub
from .reading import Source

_ALIASES = ("validation", "val", "dev")
_ORDER = (".parquet", ".jsonl", ".csv", ".tsv")

STARTER = "starter:"


def locate(name: str, hub: str, hub_config: str, base: Path | None) -> Source:
    """Find a split: a path (relative to `base`), a split of `hub`, with both its file in the directory `base`,
    `URL#sha256=HEX`, or `starter:NAME`, which ships in the package.
    """
    if is_url(name):
        return urls.local(name)
    if name.startswith(STARTER):
        return _starter(name)
    if names_hub_split(name, hub, base):
        return load_hub(hub, hub_config, name)
    if base is None or not hub or name.lower().endswith(SUFFIXES):
        return (base or Path()) / name
    stems = [name, *(alias for alias in _ALIASES if name in _ALIASES and alias != name)]
    for stem in stems:
        for suffix in _ORDER:
            if (path := base / f"{stem}{suffix}").is_file():
                return path
    raise DataError(f"{base}: no file for split '{name}'; expected {' or '.join(stems)} with {', '.join(_ORDER)}")


def names_hub_split(name: str, hub: str, base: Path | None) -> bool:
    """Whether a name is to be downloaded: with a hub and no directory instead, all but files and starter data."""
    elsewhere = is_url(name) or name.startswith(STARTER) or name.lower().endswith(SUFFIXES)
    return bool(hub) and base is None and not elsewhere


def _starter(name: str) -> Path:
    """A file that ships in the package."""
    folder = Path(__file__).parent.parent / "starter"
    path = folder / f"{name.removeprefix(STARTER)}.csv"
    if not path.is_file():
        known = ", ".join(sorted(f"{STARTER}{file.stem}" for file in folder.glob("*.csv")))
        raise DataError(f"{name}: no such starter data; there is {known}")
    return path
