"""Text normalisation: the same function before training and before every prediction."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from ..errors import DataError
from .treebank import treebank

_PASSES = 8
_BREAK = re.compile(r"</?br\s*/?>", re.IGNORECASE)
_USER = re.compile(r"(?<!\w)@\w+")
_LINK = re.compile(r"https?://\S+|(?<!\w)www\.\S+", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")


def _html(text: str) -> str:
    return html.unescape(_BREAK.sub(" ", text) if "<" in text else text)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _users(text: str) -> str:
    return _USER.sub("@user", text)


def _links(text: str) -> str:
    return _LINK.sub("http", text)


_STEPS: Mapping[str, Callable[[str], str]] = {
    "html": _html, "nfc": _nfc, "users": _users, "links": _links, "treebank": treebank, "lower": str.lower
}  # fmt: skip


def normalize(text: str, names: Sequence[str]) -> str:
    """Apply the named steps in order, until nothing changes: normalising twice is normalising once.

    NUL and lone surrogates are always replaced, because tokenizers refuse them; with any step on, runs of white space
    become one space and the ends are stripped.
    """
    for name in names:
        if name not in _STEPS:
            raise DataError(f"unknown text normalisation '{name}'; expected {', '.join(_STEPS)}")
    text = _encodable(text)
    if not names:
        return text
    for _ in range(_PASSES):
        before = text
        for name in names:
            text = _STEPS[name](text)
        untouched = text == before  # by the steps: spaces that are joined give them nothing to do
        text = _spaced(text)
        if untouched or text == before:
            return text
    # Entities nested this deep are an attack on the loop, which would otherwise run once per level.
    return normalize(text.replace("&", " "), names)


def _spaced(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        return " ".join(text.split())
    while "  " in text:  # the same for most texts, in a tenth of the time
        text = text.replace("  ", " ")
    return text.strip(" ")


def _encodable(text: str) -> str:
    if not text.isascii() and _SURROGATE.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", " ")
