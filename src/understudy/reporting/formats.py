"""How numbers, recipes and texts are written: digits, intervals, TOML, Markdown's escapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

NONE = "–"


class Cell(NamedTuple):
    """What stands in a table's cell: the number, and in small what belongs to it."""

    text: str
    detail: str = ""


def digits(number: float | None) -> str:
    """Three digits that count; whole numbers from 100 on."""
    if number is None:
        return NONE
    decimals = next((places for limit, places in ((100, 0), (10, 1), (1, 2), (0.1, 3)) if abs(number) >= limit), 4)
    return f"{number:,.{decimals}f}"


def whole(number: int | None) -> str:
    """A count."""
    return NONE if number is None else f"{number:,}"


def hundredth(share: float | None) -> str:
    """A share in percent, without the sign."""
    return NONE if share is None else f"{100 * share:.1f}"


def percent(estimate: Mapping[str, Any] | float | None, digits: int = 2) -> Cell:
    """A share with its interval, without the sign."""
    found: Mapping[str, Any] = {"value": estimate} if isinstance(estimate, float | int) else estimate or {}
    if found.get("value") is None:
        return Cell(NONE)
    low, high = found.get("ci95") or (None, None)
    detail = "" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"
    return Cell(f"{100 * found['value']:.{digits}f}", detail)


def points(difference: Mapping[str, Any]) -> Cell:
    """A signed difference in points, with its interval."""
    if difference["value"] is None:
        return Cell(NONE)
    numbers = [difference["value"], *(bound for bound in difference["ci95"] if bound is not None)]
    value, *bounds = (f"{100 * number:+.2f}".replace("-", "−") for number in numbers)
    return Cell(value, " to ".join(bounds))


def megabytes(size: float | None) -> Cell:
    """Bytes in MB."""
    return Cell(NONE if size is None else digits(size / 1e6))


def compact(number: float | None) -> str:
    """A count in millions or thousands."""
    if number is None:
        return NONE
    divisor, unit = next(((d, u) for d, u in ((1e6, " M"), (1e3, " k")) if number >= d), (1.0, ""))
    return f"{digits(number / divisor)}{unit}" if unit else f"{number:,.0f}"


def p_value(value: float | None) -> str:
    """A p value: the smallest ones as a bound."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def plain(name: str, value: Any) -> str:
    """A fact about the machine."""
    if name.endswith("_bytes") and value:
        return f"{value / 1e9:.1f} GB"
    if name == "gpus":
        return "; ".join(
            f"{one['name']}, {(one['memory_bytes'] or 0) / 1e9:.1f} GB, driver {one['driver']}" for one in value
        )
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def toml(recipe: Mapping[str, Any]) -> str:
    """A recipe as the TOML that it came from, unset keys left out."""
    settings = {key: value for key, value in recipe.items() if not _is_section(value)}
    lines = [f"{_key(key)} = {_toml_value(value)}" for key, value in settings.items() if value is not None]
    for key, value in recipe.items():
        for section in (
            value if isinstance(value, list) and _is_section(value) else [value] if _is_section(value) else []
        ):
            head = f"[[{_key(key)}]]" if isinstance(value, list) else f"[{_key(key)}]"
            lines += ["", head, *(f"{_key(k)} = {_toml_value(v)}" for k, v in section.items() if v is not None)]
    return "\n".join(lines).strip()


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {_toml_value(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def escape_markdown(text: str) -> str:
    """Text that neither Markdown nor the HTML in it can take for markup, on one line."""
    entities = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    return "".join(
        entities.get(sign, f"\\{sign}" if sign in "\\`*_[]|~#$" else sign) for sign in " ".join(text.split())
    )
