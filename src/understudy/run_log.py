"""run.log: what a command tells its user while it works in a directory, with times (UTC).

    2026-11-21 15:04:05Z understudy 0.1.0: run of the task tickets
    2026-11-21 15:04:05Z [1/24] data
    …
    2026-11-21 15:31:40Z finished

A start that goes on from there appends to it. A killed one leaves the lines up to the kill.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from .errors import InputError, UnderstudyError, first_line
from .machine import versions
from .progress import Progress

LOG = "run.log"


@contextmanager
def logged(out: Path, what: str, progress: Progress) -> Iterator[Progress]:
    """Yield a progress that also writes each note into the log of `out`, and how the work ends; bars are only shown.

    Raises InputError if the log cannot be written.
    """
    path = out / LOG
    try:
        file = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"{path} cannot be written to: {error.strerror}; choose another --out") from None
    with file:
        log = _Log(file, progress)
        log.write(f"understudy {versions()['understudy']}: {what}")
        try:
            yield log
        except KeyboardInterrupt:
            log.write("interrupted")
            raise
        except Exception as error:
            known = isinstance(error, UnderstudyError)
            log.write(f"failed: {error if known else f'{type(error).__name__}: {first_line(error)}'}")
            raise
        log.write("finished")


class _Log:
    def __init__(self, file: TextIO, shown: Progress) -> None:
        self._file, self._shown = file, shown

    def note(self, message: str) -> None:
        self.write(message)
        self._shown.note(message)

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        with self._shown.track(description, total) as advance:
            yield advance

    def write(self, line: str) -> None:
        one_line = " ".join(line.splitlines())
        self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime())} {one_line}\n")
