"""One line for what is wrong with a recipe: the key as the user wrote it, and the nearest that is known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

Kinds = Mapping[str, type[BaseModel]]

_BRANCHES = ("int", "list[int]")  # what pydantic adds to a key that takes one of these


def explain(section: type[BaseModel], error: ValidationError, choices: Mapping[str, Kinds]) -> str:
    """The first thing that is wrong; `choices` are the sections that come in kinds, and these."""
    first = error.errors()[0]
    location, problem, got = first["loc"], first["type"], repr(first["input"])
    kinds = choices.get(str(location[0]), {}) if location and location[0] in section.model_fields else {}
    tag = _place_of_kind(location) if kinds else len(location)
    path = [*location[:tag], *location[tag + 1 : tag + 2], *(p for p in location[tag + 2 :] if p not in _BRANCHES)]
    key = ".".join(str(part) for part in path)
    if problem == "extra_forbidden":
        owners = [kind for kind, model in kinds.items() if location[-1] in model.model_fields]
        if owners:
            return f"key '{key}' is for {_plural(location[0])} of kind {' or '.join(owners)}, not {location[tag]}"
        return f"unknown key '{key}'{nearest(location[-1], _keys_beside(section, location, kinds))}"
    if problem == "missing":
        return f"key '{key}' is missing"
    if problem == "union_tag_not_found":
        return f"{key}: kind is missing; choose one of {', '.join(kinds)}"
    if problem == "union_tag_invalid":
        wanted = first["ctx"]["tag"]
        other = nearest(wanted, kinds) or f"; choose one of {', '.join(kinds)}"
        return f"{key}: unknown kind '{wanted}'{other}"
    if problem in ("model_type", "model_attributes_type"):
        return f"{key}: input should be a table, got {got}"
    message = worded(first)
    if problem == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}: {message}, got {got}"


def worded(problem: Mapping[str, Any]) -> str:
    """What pydantic says of a problem, to go on a sentence with."""
    message: str = problem["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def nearest(name: object, known: Iterable[str]) -> str:
    """A question for the nearest known name; empty if none is near."""
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _place_of_kind(location: tuple[int | str, ...]) -> int:
    """Where pydantic names the kind: after the section's name, and its index in a list."""
    return 2 if len(location) > 1 and isinstance(location[1], int) else 1


def _plural(name: object) -> str:
    return str(name).removesuffix("s") + "s"


def _keys_beside(section: type[BaseModel], location: tuple[int | str, ...], kinds: Kinds) -> list[str]:
    """The keys that are known where an unknown one was found."""
    if kinds:
        return list(kinds[str(location[_place_of_kind(location)])].model_fields)
    inner: Any = section
    for part in location[:-1]:  # into a section, or past the key of a table of sections
        inner = inner.model_fields[str(part)].annotation if hasattr(inner, "model_fields") else get_args(inner)[-1]
    inner = next((one for one in get_args(inner) if hasattr(one, "model_fields")), inner)
    return list(inner.model_fields) if hasattr(inner, "model_fields") else []
