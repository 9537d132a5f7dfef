"""What a recipe or a user may name that is not on this machine: a repository on the hub, or a file by its URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urldefrag, urlsplit

from ..errors import InputError

Kind = Literal["model", "dataset"]

DATASET = "dataset:"  # before the name of a data set, where a model could be meant
MAIN = "main"

_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_NAME = re.compile(rf"(?P<name>{_PART}(/{_PART})?)(@(?P<revision>[A-Za-z0-9._/-]+))?")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Repo:
    """A repository on the hub at a branch, a tag or a commit."""

    kind: Kind
    name: str
    revision: str = MAIN

    def __str__(self) -> str:
        return self.name if self.revision == MAIN else f"{self.name}@{self.revision}"

    @property
    def title(self) -> str:
        """As a sentence names it."""
        return f"{'data set' if self.kind == 'dataset' else 'model'} {str(self)!r}"

    @property
    def command(self) -> str:
        """What downloads it."""
        return f"understudy fetch {DATASET if self.kind == 'dataset' else ''}{self}"


def parse_repo(name: str, kind: Kind) -> Repo:
    """`NAME` or `NAME@REVISION`; raises InputError for what no repository is called."""
    match = _NAME.fullmatch(name)
    if match is None:
        noun = "data set" if kind == "dataset" else "model"
        raise InputError(f"{noun} {name!r} is no directory here, and no name on the hub (OWNER/NAME or NAME@REVISION)")
    return Repo(kind, match["name"], match["revision"] or MAIN)


def is_url(name: str) -> bool:
    """Whether a file is named by its URL."""
    return name.lower().startswith(("https://", "http://"))


def parse_url(name: str) -> tuple[str, str]:
    """The URL and the SHA-256 that `#sha256=HEX` at its end gives, or ""; raises InputError."""
    url, fragment = urldefrag(name)
    if not fragment:
        return url, ""
    key, _, digest = fragment.partition("=")
    if key != "sha256":
        raise InputError(f"{name}: expected #sha256=HEX after the URL, got #{fragment}")
    return url, checked_sha256(digest)


def checked_sha256(digest: str) -> str:
    """The digest in lower case; raises InputError for what is none."""
    if not _SHA256.fullmatch(digest):
        raise InputError(f"a SHA-256 has 64 hexadecimal digits, got {digest!r}")
    return digest.lower()


def file_name(url: str) -> str:
    """The last part of a URL's path."""
    name = urlsplit(url).path.rpartition("/")[2]
    if not re.fullmatch(r"[\w][\w.%+-]*", name):
        raise InputError(f"{url}: its path ends in no file name; say with --out what to call the file")
    return name
