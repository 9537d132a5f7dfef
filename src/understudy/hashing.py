"""From text to n-grams: of words, and of bytes inside a word, each known by its hash; in NumPy, and faster in C.

A word is a run of ASCII letters, digits and bytes from 0x80 on, with apostrophes between them; any other character but
white space is a word of its own. Bytes are hashed into words, and words into n-grams, as polynomials modulo 2^64; the
upper half of the mixed hash stands for the n-gram. `_hashing.so` is there if a C compiler was when understudy was
installed: ten times as fast, the same numbers.
"""

from __future__ import annotations

import ctypes
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SETTINGS_FILE, HASHES_FILE = "hashing.json", "hashing.npy"
LIBRARY = Path(__file__).with_name("_hashing.so")

Numbers = NDArray[np.int64]

_WORD, _MARK, _APOSTROPHE = 1, 2, 3
_KINDS = np.zeros(256, np.uint8)  # of a byte; 0 separates words
_KINDS[33:127] = _MARK
for _ends in ("09", "AZ", "az"):
    _KINDS[ord(_ends[0]) : ord(_ends[1]) + 1] = _WORD
_KINDS[128:] = _WORD
_KINDS[ord("'")] = _APOSTROPHE

# Odd numbers without a pattern; the files that exist depend on them.
_BYTES, _WORDS, _INSIDE = np.uint64(0x9DDFEA08EB382D69), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)
_MIXERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # of splitmix64's last step

# Words of their own beyond ASCII: punctuation, symbols, and ideographs, between which nobody writes spaces.
_ALONE = re.compile(
    "[\u00a1-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u2010-\u2bff\u3001-\u303f\u3400-\u9fff"
    "\uff01-\uff0f\U0001f000-\U0001faff]"
)

_CHUNK = 1 << 17  # characters that are hashed together: a hundred reviews, a MB of numbers


@dataclass(frozen=True)
class Sizes:
    """Which n-grams: of 1 up to `words` words, and of each of these numbers of bytes inside a word and its ends."""

    words: int = 1
    bytes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.words not in range(1, 4) or not set(self.bytes) <= set(range(2, 9)):
            raise ValueError(f"n-grams are of 1 to 3 words and 2 to 8 bytes, got {self.words} and {self.bytes}")


@dataclass(frozen=True, eq=False)
class Hashing:
    """A tokenizer of n-grams: the kept ones, in the order of their hashes, have the ids from 1 on; others have none.

    A kept hash has bits + 16 bits: `counts` (2^bits,) says how many begin with each of the possible first bits, `low`
    (n,) holds the last 16. Another n-gram is taken for a kept one about once in 2^16 / 12 times.
    """

    sizes: Sizes
    counts: NDArray[np.uint16]
    low: NDArray[np.uint16]

    @classmethod
    def of(cls, sizes: Sizes, hashes: NDArray[np.uint32]) -> Hashing:
        """A tokenizer that keeps the n-grams with these hashes."""
        bits = min(16, max(0, len(hashes).bit_length() - 4))  # 8 to 16 of them share their first bits
        short = np.unique(hashes >> np.uint32(16 - bits))
        counts = np.bincount(short >> np.uint32(16), minlength=1 << bits)
        return cls(sizes, counts.astype(np.uint16), short.astype(np.uint16))

    @classmethod
    def load(cls, settings_file: bytes, hashes_file: bytes) -> Hashing:
        """Read what the files that `save` wrote hold; raises OSError, ValueError, KeyError or TypeError."""
        settings = json.loads(settings_file)
        stored = np.load(io.BytesIO(hashes_file), allow_pickle=False)
        buckets = 1 << int(settings["bits"])
        made = cls(Sizes(settings["ngrams"], tuple(settings["subwords"])), stored[:buckets], stored[buckets:])
        if stored.dtype != np.uint16 or len(made.counts) != buckets or made.counts.sum(dtype=np.int64) != len(made):
            raise ValueError(f"{HASHES_FILE} does not fit {SETTINGS_FILE}")
        return made

    def save(self, directory: Path) -> None:
        """Write the two files."""
        settings = {"ngrams": self.sizes.words, "subwords": self.sizes.bytes, "bits": self.bits}
        (directory / SETTINGS_FILE).write_text(json.dumps(settings), encoding="utf-8")
        np.save(directory / HASHES_FILE, np.concatenate([self.counts, self.low]))

    def __len__(self) -> int:
        return len(self.low)

    @property
    def bits(self) -> int:
        """How many first bits of a hash choose its place in `counts`."""
        return len(self.counts).bit_length() - 1

    @cached_property
    def hashes(self) -> NDArray[np.uint32]:
        """The kept hashes, sorted."""
        first = np.repeat(np.arange(len(self.counts), dtype=np.uint32), self.counts)
        return (first << np.uint32(16)) | self.low

    @cached_property
    def starts(self) -> NDArray[np.int32]:
        """Where those with the same first bits begin in `hashes`, and where the last end: about one in each place."""
        first = np.arange((1 << self.fine) + 1, dtype=np.uint64) << np.uint64(self.bits + 16 - self.fine)
        return np.searchsorted(self.hashes, first).astype(np.int32)

    @property
    def fine(self) -> int:
        """How many first bits of a hash choose its place in `starts`."""
        return min(self.bits + 16, len(self).bit_length())

    def encode(self, texts: Sequence[str], max_words: int) -> list[Numbers]:
        """The ids of the n-grams of each text's first words, each once; [0] where none is known.

        How often a text says a thing tells less than that it does: on IMDb counting costs half a point.
        """
        found: list[Numbers] = []
        for joined, count in _joined(texts):
            ids, counts = (in_c if fast() else in_numpy)(self.sizes, joined, count, max_words, self)
            ends = np.cumsum(counts).tolist()
            found += [ids[a:b] if b > a else _NOTHING for a, b in zip([0, *ends], ends, strict=False)]
        return found

    def unknown_shares(self, texts: Sequence[str], max_words: int) -> NDArray[np.float64]:
        """Of each text's first words the share that has no n-gram of its own among those that are kept."""
        shares = [np.zeros(0)]
        for joined, count in _joined(texts):
            words, counts = (in_c if fast() else in_numpy)(Sizes(), joined, count, max_words)
            lacks = ~np.isin(words.astype(np.uint32) >> np.uint32(16 - self.bits), self.hashes)
            of = np.repeat(np.arange(count), counts)
            shares.append(np.bincount(of, lacks, minlength=count) / np.maximum(1, counts))
        return np.concatenate(shares)


_NOTHING = np.zeros(1, np.int64)


def all_hashes(sizes: Sizes, texts: Sequence[str], max_words: int) -> NDArray[np.uint32]:
    """The hash of every n-gram of the texts' first words, as often as it occurs."""
    parts = [
        (in_c if fast() else in_numpy)(sizes, joined, count, max_words)[0].astype(np.uint32)
        for joined, count in _joined(texts)
    ]
    return np.concatenate([np.zeros(0, np.uint32), *parts])


def fast() -> bool:
    """Whether the C library is there."""
    return _library() is not None


def _joined(texts: Sequence[str]) -> Iterator[tuple[bytes, int]]:
    """Lower-case texts between NULs, some at a time, and how many."""
    part: list[str] = [""]
    size = 0
    for text in texts:
        part.append(_lower(text))
        size += len(text)
        if size > _CHUNK:
            yield "\0".join([*part, ""]).encode(), len(part) - 1
            part, size = [""], 0
    if len(part) > 1:
        yield "\0".join([*part, ""]).encode(), len(part) - 1


def _lower(text: str) -> str:
    if text.isascii():
        return text.lower()
    return " ".join(_ALONE.sub(r" \g<0> ", text).lower().split())


@cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError:
        return None
    number, pointer = ctypes.c_int64, ctypes.c_void_p
    library.understudy_ngrams.argtypes = [
        pointer, ctypes.c_char_p, number, number, number, pointer, number, pointer, pointer, number, number, pointer,
        pointer, pointer,
    ]  # fmt: skip
    library.understudy_ngrams.restype = number
    return library


def in_c(
    sizes: Sizes, joined: bytes, texts: int, max_words: int, known: Hashing | None = None
) -> tuple[Numbers, Numbers]:
    """The n-grams of all texts in one array, and how many each has: ids of known ones, else all hashes."""
    library = _library()
    assert library is not None
    lengths, counts = np.array(sizes.bytes, np.int64), np.empty(texts, np.int64)
    found = np.empty((sizes.words + len(lengths)) * len(joined), np.int64)
    lookup: tuple[int | None, ...] = (None, None, 0, 0, None)
    if known is not None:
        left, seen = known.bits + 16 - known.fine, np.empty(4 * len(found) + 4, np.int32)
        lookup = (known.hashes.ctypes.data, known.starts.ctypes.data, 16 - known.bits, left, seen.ctypes.data)
    total = library.understudy_ngrams(
        _KINDS.ctypes.data, joined, texts, max_words, sizes.words, lengths.ctypes.data, len(lengths), *lookup,
        found.ctypes.data, counts.ctypes.data,
    )  # fmt: skip
    return found[:total].copy(), counts


def in_numpy(
    sizes: Sizes, joined: bytes, texts: int, max_words: int, known: Hashing | None = None
) -> tuple[Numbers, Numbers]:
    """The same without the library."""
    text = np.frombuffer(joined, np.uint8)
    kinds = _KINDS[text]
    inside = kinds == _WORD
    inside[1:-1] |= (kinds[1:-1] == _APOSTROPHE) & inside[:-2] & inside[2:]
    before, after = np.concatenate([[False], inside[:-1]]), np.concatenate([inside[1:], [False]])
    starts = np.flatnonzero(np.where(inside, ~before, kinds > 0))
    ends = np.flatnonzero(np.where(inside, ~after, kinds > 0)) + 1
    owners = np.cumsum(text == 0)[starts] - 1
    places = np.arange(len(starts)) - np.searchsorted(owners, owners)
    kept = places < max_words
    starts, ends, owners, places = starts[kept], ends[kept], owners[kept], places[kept]
    hashes, many = _of_words(_hashed_words(text, starts, ends), places, sizes.words)
    parts, parts_of = [hashes], [np.repeat(owners, many)]
    letters = np.where(inside, text, ord(" ")).astype(np.uint64)
    lengths = np.where(inside[starts], ends - starts, 0)
    for size in sizes.bytes:
        many = np.where(lengths + 1 >= size, lengths + 3 - size, 0)  # with the ends; the whole word is there already
        first = np.repeat(starts - 1 - np.cumsum(many) + many, many) + np.arange(many.sum())
        windows = np.zeros(len(first), np.uint64)
        for offset in range(size):
            windows = windows * _BYTES + letters[first + offset]
        parts.append(windows ^ _INSIDE)
        parts_of.append(np.repeat(owners, many))
    of = np.concatenate(parts_of)
    order = np.argsort(of, kind="stable")
    found, of = _mixed(np.concatenate(parts)[order]), of[order]
    if known is not None:
        short = found >> np.uint32(16 - known.bits)
        at = np.searchsorted(known.hashes, short)
        there = np.concatenate([known.hashes, [0]])[at] == short
        there &= at < len(known)
        found, of = at[there] + 1, of[there]
        _, firsts = np.unique(of * (len(known) + 1) + found, return_index=True)
        found, of = found[np.sort(firsts)], of[np.sort(firsts)]
    return found.astype(np.int64), np.bincount(of, minlength=texts)


def _hashed_words(text: NDArray[np.uint8], starts: Numbers, ends: Numbers) -> NDArray[np.uint64]:
    """Σ byte · BYTES^(bytes behind it in its word), for each word."""
    lengths = ends - starts
    firsts = np.cumsum(lengths) - lengths
    at = np.arange(lengths.sum())
    powers = np.full(lengths.max(initial=1), _BYTES)
    powers[0] = 1
    powers = np.multiply.accumulate(powers)
    terms = text[np.repeat(starts - firsts, lengths) + at] * powers[np.repeat(firsts + lengths - 1, lengths) - at]
    return np.add.reduceat(terms, firsts) if len(firsts) else np.zeros(0, np.uint64)


def _of_words(words: NDArray[np.uint64], places: Numbers, longest: int) -> tuple[NDArray[np.uint64], Numbers]:
    """The hashes of all n-grams, by their last word, and how many end with each word."""
    orders = [words]
    for _ in range(1, longest):
        earlier = np.concatenate([np.zeros(1, np.uint64), orders[-1]])[: len(words)]
        orders.append(earlier * _WORDS + words)
    there = places[:, None] >= np.arange(longest)
    return np.stack(orders, axis=1)[there], there.sum(axis=1)


def _mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint32]:
    for shift, factor in zip((30, 27), _MIXERS, strict=True):
        hashes = (hashes ^ (hashes >> np.uint64(shift))) * factor
    return ((hashes ^ (hashes >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32)
