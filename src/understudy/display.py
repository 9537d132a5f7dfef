"""Progress on a terminal (bars with time left) or in a log (a line now and then), always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from .progress import Progress

_LOG_SECONDS = 15.0


def terminal_progress() -> Progress:
    """Bars where standard error is a terminal, lines where it is a file or a pipe."""
    return _Terminal() if sys.stderr.isatty() else _Log()


class _Terminal:
    def __init__(self) -> None:
        self._console = Console(stderr=True)

    def note(self, message: str) -> None:
        self._console.print(message, style="dim", markup=False, highlight=False)

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        columns = (
            TextColumn("{task.description:<36}", markup=False), BarColumn(24), MofNCompleteColumn(),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        with Bars(*columns, console=self._console) as bars:
            task = bars.add_task(description, total=total or None)
            yield lambda units: bars.advance(task, units)


class _Log:
    def note(self, message: str) -> None:
        self._say(message)

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        begun = said = time.monotonic()
        done, first = 0, 0

        def advance(units: int) -> None:
            nonlocal done, said, first
            if not done and time.monotonic() - begun < 0.1:
                first = units  # what an interrupted run had done says nothing about the speed of this one
            done += units
            now = time.monotonic()
            if now - said > _LOG_SECONDS and total and done > first:
                said = now
                left = (now - begun) * (total - done) / (done - first)
                self._say(f"{description}: {done}/{total}, {_clock(left)} left")

        yield advance
        self._say(f"{description}: done in {_clock(time.monotonic() - begun)}")

    @staticmethod
    def _say(message: str) -> None:
        sys.stderr.write(message + "\n")
        sys.stderr.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{rest:02d}"
