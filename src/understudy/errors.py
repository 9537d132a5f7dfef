"""Everything that can go wrong, as a tree.

    UnderstudyError         one line for the user; `exit_code` is what the command ends with
    ├── InputError          2: what the user gave cannot be used
    │   ├── DataError          a text file, its columns, its rows
    │   ├── RecipeError        a recipe, a flag, a combination of them
    │   └── ArtifactError      a directory that is not, or no longer, what a stage wrote
    ├── MissingExtraError   2: an optional dependency is not installed; names the pip command
    ├── UncertifiedError    3: the work is done, and what was asked for cannot be shown
    └── WorkError           1: the input was fine and the work failed

A message says what was asked, what was found, what was expected and what to do next.
"""

from __future__ import annotations


class UnderstudyError(Exception):
    """Base of every error that a user is meant to read."""

    exit_code = 1


class InputError(UnderstudyError):
    """The input cannot be used as it is."""

    exit_code = 2


class DataError(InputError):
    """A text file is missing, unreadable, or its rows do not fit the task."""


class RecipeError(InputError):
    """A recipe or a flag is unknown, out of range, or contradicts another one."""


class ArtifactError(InputError):
    """A directory lacks a file, was changed after it was written, or belongs to something else."""


class MissingExtraError(UnderstudyError):
    """A feature needs an optional dependency."""

    exit_code = 2

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra: pip install 'understudy[{extra}]'")


class UncertifiedError(UnderstudyError):
    """What was asked for cannot be shown with these models and this many texts; nothing is written."""

    exit_code = 3


class WorkError(UnderstudyError):
    """The work itself failed: a loss that is not finite, an export that does not match, a refused gate."""


def first_line(error: BaseException) -> str:
    """What another library's error says, in one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
