"""From text to token ids, the same way in training and at prediction (tokenizers or hashing, no torch)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .artifact import Artifact, TextConfig
from .data.normalization import normalize
from .errors import ArtifactError, first_line
from .hashing import HASHES_FILE, SETTINGS_FILE, Hashing

Tokens = NDArray[np.int64]

TOKENIZER_FILES = ("tokenizer.json", SETTINGS_FILE, HASHES_FILE)  # of an artifact, the first or the others

# Tokenizing is linear in the text and truncation comes after it, so that a megabyte of text would cost a second to
# keep 128 tokens. No real text has more than 32 characters a token on average.
_CHARACTERS_PER_TOKEN = 32


class TextEncoder:
    """A tokenizer with the text handling of its artifact."""

    def __init__(self, tokenizer: Tokenizer | Hashing, text: TextConfig) -> None:
        self.tokenizer = tokenizer
        self.text = text
        if isinstance(tokenizer, Hashing):
            return
        tokenizer.no_padding()
        if text.truncation == "head":
            tokenizer.enable_truncation(text.max_length)
        else:
            tokenizer.no_truncation()

    @classmethod
    def load(cls, artifact: Artifact, text: TextConfig) -> TextEncoder:
        """Read the tokenizer of an artifact; raises ArtifactError."""
        return cls(load_tokenizer(artifact), text)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of each text, special tokens included, at least one and at most max_length of them.

        If they are n-grams, max_length is the number of words.
        """
        cleaned = [self.cleaned(text) for text in texts]
        if isinstance(self.tokenizer, Hashing):
            return self.tokenizer.encode(cleaned, self.text.max_length)
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(cleaned)]
        return [np.array(self._cut(ids) or [0], dtype=np.int64) for ids in rows]

    def cleaned(self, text: str) -> str:
        """The normalised text, without what is certainly cut off."""
        limit = self.text.max_length * _CHARACTERS_PER_TOKEN
        if self.text.truncation == "head":
            return normalize(text[: 2 * limit], self.text.normalize)[:limit]
        if len(text) > 4 * limit:
            text = f"{text[: 2 * limit]} {text[-2 * limit :]}"
        whole = normalize(text, self.text.normalize)
        return whole if len(whole) <= 2 * limit else f"{whole[:limit]} {whole[-limit:]}"

    def _cut(self, ids: list[int]) -> list[int]:
        """At most max_length ids: the tokenizer has cut them, or the first quarter and the last three quarters stay.

        What an author concludes stands at the end. Of the ways to keep 510 tokens of a film review, a quarter of
        them from its beginning made the fewest errors (Sun et al. 2019, table 2). Special tokens are at the ends.
        """
        longest = self.text.max_length
        if len(ids) <= longest:
            return ids
        head = longest // 4
        return ids[:head] + ids[head - longest :]


def load_tokenizer(artifact: Artifact) -> Tokenizer | Hashing:
    """The tokenizer of an artifact; raises ArtifactError where this version does not understand it."""
    if SETTINGS_FILE in artifact.files:
        contents = artifact.read(SETTINGS_FILE), artifact.read(HASHES_FILE)
        try:
            return Hashing.load(*contents)
        except (OSError, ValueError, KeyError, TypeError) as error:
            file = artifact.path / SETTINGS_FILE
            raise ArtifactError(f"{file} is not what was written: {first_line(error)}") from None
    content = artifact.read(TOKENIZER_FILES[0])
    try:
        return Tokenizer.from_buffer(content)
    except BaseException as error:  # a Rust panic is not an Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        file = artifact.path / TOKENIZER_FILES[0]
        raise ArtifactError(f"{file} is not a tokenizer that this version of tokenizers reads: {error}") from None


def copy_tokenizer(source: Artifact, target: Path) -> None:
    """Copy the tokenizer of an artifact into another directory."""
    for name in TOKENIZER_FILES:
        if name in source.files:
            (target / name).write_bytes(source.read(name))


def batches(tokens: Sequence[Tokens], budget: int) -> Iterable[NDArray[np.int64]]:
    """Rows grouped by equal length, longest first, at most `budget` tokens a group.

    Equal lengths need no padding, so that a row's arithmetic is the same in any company.
    """
    lengths = np.array([len(row) for row in tokens], dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    starts = np.flatnonzero(np.diff(lengths[order], prepend=-1))
    for rows in np.split(order, starts[1:]):
        size = max(1, budget // int(lengths[rows[0]])) if len(rows) else 1
        yield from (rows[start : start + size] for start in range(0, len(rows), size))


def padded_batches(tokens: Sequence[Tokens], budget: int) -> Iterable[NDArray[np.int64]]:
    """Rows grouped by similar length, longest first, at most `budget` tokens a group, padding counted."""
    lengths = np.array([len(row) for row in tokens], dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, budget // int(lengths[order[start]]))
        yield order[start : start + size]
        start += size
