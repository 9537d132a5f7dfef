"""Paid answers, a JSON line each: on the disk before anybody uses them, so that no question is paid for twice.

A line has the key of its question, the text, and what came back. A line that a kill cut short is dropped when the
journal is opened again: its answer was not used.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from ..errors import InputError
from ..files import locked

Record = dict[str, Any]


def key_of(question: Mapping[str, Any]) -> str:
    """SHA-256 of a question: where it is asked, and all that is sent."""
    return hashlib.sha256(json.dumps(question, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def read_journal(path: Path) -> dict[str, Record]:
    """The answers by key, none if there is no file yet; raises InputError for a line that is damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    records = {}
    for number, line in enumerate(content.split(b"\n")[:-1], 1):  # what follows the last line feed was cut short
        try:
            record = json.loads(line)
            records[str(record["key"])] = record
        except (ValueError, TypeError, KeyError):
            raise InputError(
                f"{path}: line {number} is damaged; delete this line: its question is asked again"
            ) from None
    return records


class Journal:
    """An open journal; one process at a time."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.records = read_journal(path)
        self._descriptor = descriptor
        self._lock = Lock()

    def add(self, record: Record) -> None:
        """Keep an answer; returns when it is on the disk."""
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with self._lock:
            os.write(self._descriptor, line)
            os.fsync(self._descriptor)
            self.records[record["key"]] = record


@contextmanager
def opened(path: Path) -> Iterator[Journal]:
    """Open a journal to add to it; raises InputError if another process has it open, or it cannot be written."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise InputError(f"{path} cannot be written to: {error.strerror}") from None
    with locked(descriptor, f"another process is asking with {path}; wait for it"):
        content = path.read_bytes()
        os.ftruncate(descriptor, content.rfind(b"\n") + 1)
        yield Journal(path, descriptor)
