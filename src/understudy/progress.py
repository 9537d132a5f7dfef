"""What a stage tells of its progress; how it is shown is the caller's business."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Where stages report to."""

    def note(self, message: str) -> None:
        """Say one thing that the user should read."""

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        """Follow a piece of work of `total` units; yields a function that adds finished units."""


class Silent:
    """Shows nothing."""

    def note(self, message: str) -> None:
        """Ignore the message."""

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        """Ignore the progress."""
        yield lambda units: None
