"""The directory of a run: one process at a time works in it, for one task."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .artifact import MANIFEST
from .config import Recipe
from .errors import InputError, RecipeError
from .files import locked, write_atomically

NOTE = "run.json"
LOCK = ".lock"


@contextmanager
def claimed(out: Path, recipe: Recipe) -> Iterator[None]:
    """Work in a directory alone, as the recipe's task; raises RecipeError for a directory of another task."""
    with _locked(out):
        refuse_another_task(out, recipe)
        _claim(out, recipe)
        yield


def refuse_another_task(out: Path, recipe: Recipe) -> None:
    """Raise RecipeError if the data of another task is prepared in the directory."""
    note, ours = out / NOTE, _owner(recipe)
    if not (note.exists() and (out / "data" / MANIFEST).exists()):
        return
    try:
        theirs = json.loads(note.read_text(encoding="utf-8"))
        task, labels = theirs["task"], ", ".join(theirs["labels"])
    except (ValueError, KeyError, TypeError):
        raise RecipeError(f"{note} is damaged; choose another --out, or delete {out}") from None
    if theirs != ours:
        raise RecipeError(
            f"{out} belongs to the task {task!r} with labels {labels}{_of_kind(theirs)}; this recipe's task is "
            f"{ours['task']!r} with {', '.join(recipe.task.labels)}{_of_kind(ours)}: choose another --out"
        )


def _claim(out: Path, recipe: Recipe) -> None:
    """Mark a directory as this task's."""
    note, content = out / NOTE, json.dumps(_owner(recipe), ensure_ascii=False).encode()
    if not note.exists() or note.read_bytes() != content:
        write_atomically(note, content)


def _owner(recipe: Recipe) -> dict[str, Any]:
    kind = {"kind": "multi"} if recipe.task.kind == "multi" else {}
    return {"task": recipe.task.name, "labels": list(recipe.task.labels), **kind}


def _of_kind(owner: dict[str, Any]) -> str:
    return ", any number of them per text" if owner.get("kind") == "multi" else ""


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """One run at a time in a directory."""
    try:
        if out.is_dir() and any(out.iterdir()) and not (out / NOTE).exists() and not (out / LOCK).exists():
            raise RecipeError(f"{out} holds files that understudy did not write; choose another --out or empty it")
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out / LOCK, os.O_CREAT | os.O_RDWR)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{out} is not a directory; choose another --out") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f"{out} cannot be written to: {error.strerror}; choose another --out") from None
    with locked(handle, f"another understudy is at work in {out}; wait for it or choose another --out"):
        yield
