"""One line for what is wrong with a recipe: the key as the user wrote it, and the nearest that is known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_BRANCHES = ("int", "list[int]")  # what pydantic adds to a key that takes one of these


def explain(section: type[BaseModel], error: ValidationError, kinds: Mapping[str, type[BaseModel]]) -> str:
    """The first thing that is wrong; `kinds` are the kinds of the tables in the list `students`."""
    first = error.errors()[0]
    location, problem, got = first["loc"], first["type"], repr(first["input"])
    student = location[:1] == ("students",)
    path = [*location[:2], *location[3:4], *(p for p in location[4:] if p not in _BRANCHES)] if student else location
    key = ".".join(str(part) for part in path)
    if problem == "extra_forbidden":
        owners = [kind for kind, model in kinds.items() if student and location[-1] in model.model_fields]
        if owners:
            return f"key '{key}' is for students of kind {' or '.join(owners)}, not {location[2]}"
        return f"unknown key '{key}'{nearest(location[-1], _keys_beside(section, location, kinds))}"
    if problem == "missing":
        return f"key '{key}' is missing"
    if problem == "union_tag_not_found":
        return f"{key}: kind is missing; choose one of {', '.join(kinds)}"
    if problem == "union_tag_invalid":
        tag = first["ctx"]["tag"]
        other = nearest(tag, kinds) or f"; choose one of {', '.join(kinds)}"
        return f"{key}: unknown kind '{tag}'{other}"
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


def _keys_beside(
    section: type[BaseModel], location: tuple[int | str, ...], kinds: Mapping[str, type[BaseModel]]
) -> list[str]:
    """The keys that are known where an unknown one was found."""
    if location[:1] == ("students",):
        return list(kinds[str(location[2])].model_fields)
    inner: Any = section
    for part in location[:-1]:  # into a section, or past the key of a table of sections
        inner = inner.model_fields[str(part)].annotation if hasattr(inner, "model_fields") else get_args(inner)[-1]
    return list(inner.model_fields) if hasattr(inner, "model_fields") else []
