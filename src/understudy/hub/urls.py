"""A file by its URL: resumed where it was cut, checked, and under its final name only then."""

from __future__ import annotations

import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError, WorkError
from ..files import sha256_of_file
from ..progress import Progress, Silent
from .names import file_name, parse_url

_TRIES = 5
_SECONDS = 30  # without a byte
_BLOCK = 1 << 18
_MEGABYTE = 1_000_000


def local(name: str) -> Path:
    """The cached file of a recipe's `URL#sha256=HEX`, downloaded first if need be; raises InputError without one."""
    url, digest = parse_url(name)
    if not digest:
        raise InputError(f"{name}: say what the file holds, URL#sha256=HEX; `understudy fetch {url}` prints it")
    file = cached(url, digest)
    if file.is_file():
        return file
    if _offline():
        raise InputError(
            f"{name} is not on this machine, and the network is switched off (HF_HUB_OFFLINE): run "
            f"`understudy fetch '{name}'` where there is one, and copy {cache()}"
        )
    download(url, file, digest, Silent())
    return file


def cached(url: str, digest: str) -> Path:
    """Where the cache has the file of that SHA-256."""
    return cache() / digest / file_name(url)


def cache() -> Path:
    """The directory of downloaded files: $UNDERSTUDY_CACHE, or `understudy` where this platform keeps caches."""
    if chosen := os.environ.get("UNDERSTUDY_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        home = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Caches"
    else:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "understudy"


def download(url: str, target: Path, digest: str, progress: Progress) -> str:
    """Write a URL's content to `target` and return its SHA-256; raises InputError if that is not `digest`.

    The bytes gather in a `.part` file beside the target. A cut download goes on from there, in the same call or a
    later one, unless the server says that the file has changed.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{target.parent} cannot be written to: {error.strerror}") from None
    for attempt in range(_TRIES):
        try:
            _receive(url, part, target.name, progress)
            break
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            if attempt == _TRIES - 1 or not _passing(error):
                raise _explanation(url, error) from None
            time.sleep(min(attempt, 1))
    found = sha256_of_file(part)
    if digest and found != digest:
        _forget(part)
        raise InputError(f"{url} has the SHA-256 {found}, expected {digest}: nothing was kept")
    part.replace(target)
    _forget(part)
    return found


def size(url: str) -> int | None:
    """Bytes of a URL's content, if the server says so."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_SECONDS) as response:
            length = response.headers.get("Content-Length")
            return int(length) if length else None
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        if isinstance(error, urllib.error.HTTPError) and error.code in (405, 501):
            return None
        raise _explanation(url, error) from None


def _receive(url: str, part: Path, name: str, progress: Progress) -> None:
    """One request for what is missing; raises ConnectionError if the answer ends early."""
    note = _validator(part)  # what the server called the version of which we have the beginning
    have = part.stat().st_size if part.exists() and note.exists() else 0
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "understudy"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", note.read_text(encoding="latin-1"))
    try:
        response = urllib.request.urlopen(request, timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        _forget(part)  # at least as long as the file now is: start again
        raise ConnectionError("the server has no such range") from None
    with response:
        if response.status != http.client.PARTIAL_CONTENT:
            have = 0
        mark = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        with part.open("ab" if have else "wb") as file:
            if mark and not mark.startswith("W/"):
                note.write_text(mark, encoding="latin-1")
            else:
                note.unlink(missing_ok=True)
            length = response.headers.get("Content-Length")
            expected = None if length is None else int(length)
            with progress.track(f"{name}, MB", -(-(expected or 0) // _MEGABYTE)) as advance:
                got = _copy(response, file.write, advance)
            file.flush()
            os.fsync(file.fileno())
    if expected is not None and got < expected:
        raise ConnectionError(f"the answer ended {expected - got} bytes early")


def _copy(response: http.client.HTTPResponse, write: Callable[[bytes], int], advance: Callable[[int], None]) -> int:
    got = 0
    while block := response.read(_BLOCK):
        write(block)
        before, got = got, got + len(block)
        advance(got // _MEGABYTE - before // _MEGABYTE)
    return got


def _validator(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator(part).unlink(missing_ok=True)


def _passing(error: Exception) -> bool:
    """Whether it may go better the next time."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in (408, 429) or error.code >= 500
    return not isinstance(error, urllib.error.URLError)


def _explanation(url: str, error: Exception) -> InputError | WorkError:
    if isinstance(error, urllib.error.HTTPError):
        said = f"{url}: the server answers {error.code} {error.reason}"
        return WorkError(f"{said}; run the same command again later") if _passing(error) else InputError(said)
    if isinstance(error, urllib.error.URLError):
        return InputError(f"{url} cannot be reached: {error.reason}")
    return WorkError(f"{url}: the download was cut ({error}); run the same command again, it goes on from there")


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)
