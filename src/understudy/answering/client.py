"""One POST of JSON, tried again where that can help: rate limits, errors of the server, lost connections."""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event, Lock
from typing import Any

from ..errors import WorkError, first_line

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0  # seconds: doubled after each try, and half of it is chance
_LONGEST_ASKED_WAIT = 300.0  # seconds that a Retry-After can make us wait
_LARGEST_ANSWER = 10_000_000  # bytes


class RefusedError(WorkError):
    """The server said that it will not answer this question, and would say so again."""

    def __init__(self, url: str, status: int, reason: str) -> None:
        super().__init__(f"{url} answered {status}: {reason}")
        self.status, self.reason = status, reason


class CancelledError(Exception):
    """Another call has failed, and this one need not be made."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host, and lose the question."""

    def redirect_request(self, *given: Any) -> None:
        return None


class Client:
    """Calls one URL from several threads; a rate limit that one of them meets holds for all."""

    def __init__(self, url: str, key: str, timeout: float, retries: int) -> None:
        self._url, self._key, self._timeout, self._retries = url, key, timeout, retries
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._stop, self._lock, self._pause_until = Event(), Lock(), 0.0

    def cancel(self) -> None:
        """Make no further calls; those that are under way come to their end."""
        self._stop.set()

    def post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer, a JSON object. Raises RefusedError, or WorkError when the tries are used up."""
        problem = ""
        for attempt in range(self._retries + 1):
            self._wait(self._pause_until - time.monotonic())
            wanted = 0.0
            try:
                answer = json.loads(self._send(json.dumps(body).encode()))
                if _has_choice(answer):
                    return dict(answer)
                problem = f"an answer without choices: {self._safe(json.dumps(answer))}"
            except urllib.error.HTTPError as error:
                reason = self._reason(error)
                if error.code not in _AGAIN:
                    raise RefusedError(self._url, error.code, reason) from None
                problem, wanted = f"{error.code} {reason}", _asked_wait(error.headers.get("Retry-After"))
            except (OSError, http.client.HTTPException) as error:  # a URLError and a time-out are OSErrors
                problem = self._safe(first_line(error))
            except ValueError:
                problem = "an answer that is not JSON"
            if attempt < self._retries:
                delay = min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1.0)
                if wanted:
                    with self._lock:
                        self._pause_until = max(self._pause_until, time.monotonic() + wanted)
                self._wait(delay)
        raise WorkError(f"{self._url} gave no answer in {self._retries + 1} tries, the last time: {problem}")

    def _send(self, content: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "understudy"}
        request = urllib.request.Request(self._url, content, headers, method="POST")
        if self._key:
            request.add_unredirected_header("Authorization", f"Bearer {self._key}")
        with self._opener.open(request, timeout=self._timeout) as response:
            found: bytes = response.read(_LARGEST_ANSWER)
            return found

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self._stop.wait(seconds)
        if self._stop.is_set():
            raise CancelledError

    def _reason(self, error: urllib.error.HTTPError) -> str:
        """What the server says of an error, shortened, the key left out."""
        try:
            said = error.read(2000).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            said = ""
        with suppress(ValueError, KeyError, TypeError):
            said = str(json.loads(said)["error"]["message"])
        return self._safe(said or str(error.reason))

    def _safe(self, said: str) -> str:
        return " ".join((said.replace(self._key, "…") if self._key else said).split())[:300]


def _has_choice(answer: Any) -> bool:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    return isinstance(choices, list) and bool(choices) and isinstance(choices[0], dict)


def _asked_wait(header: str | None) -> float:
    """Seconds of a Retry-After, which is a number or a date; 0 if there is none."""
    if not header:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_ASKED_WAIT)
