"""Flags made from the settings of a stage: names, choices, limits and help come from `config`."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from ..config import parse
from ..sections import Section

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S", bound=Section)

directory = click.Path(path_type=Path, exists=True, file_okay=False)
out_directory = click.Path(path_type=Path)
recipe_argument = click.argument("recipe", type=click.Path(path_type=Path))


def flags(section: type[Section], skip: tuple[str, ...] = (), recipe: bool = False) -> Callable[[F], F]:
    """Add an option for every simple field of a section; one that is not given stays out of the result.

    With `recipe`, the command takes its settings from a recipe first, and the help says so.
    """

    def decorate(function: F) -> F:
        for name, field in reversed(section.model_fields.items()):
            kind = _click_type(field)
            if name not in skip and kind is not None:
                click.option(_flag(name, kind), name, type=kind, default=None, help=_help(field, recipe))(function)
        return function

    return decorate


def settle(section: type[S], base: Mapping[str, Any], given: Mapping[str, Any]) -> S:
    """Settings of a recipe with the given flags on top; raises RecipeError."""
    chosen = {name: value for name, value in given.items() if value is not None and name in section.model_fields}
    return parse(section, {**base, **chosen}, "the command line")


def explicit(section: Section) -> dict[str, Any]:
    """The settings that a recipe set itself."""
    return section.model_dump(exclude_unset=True)


def _flag(name: str, kind: Any) -> str:
    dashed = name.replace("_", "-")
    return f"--{dashed}/--no-{dashed}" if kind is bool else f"--{dashed}"


def _help(field: FieldInfo, recipe: bool) -> str:
    of = "the recipe's, or " if recipe else ""
    default = f"[default: {of}{field.default}]"
    default = "" if field.is_required() or field.default in ("", [], {}) else f" {default}"
    return f"{field.description}{default}"


def _click_type(field: FieldInfo) -> Any:
    """bool, int, float, str or a choice; None for lists and tables, which only a recipe can hold."""
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    if isinstance(annotation, types.UnionType) or annotation not in (bool, int, float, str):
        return None
    return annotation
