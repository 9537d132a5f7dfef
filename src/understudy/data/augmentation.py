"""Altered copies of training texts, which only the teacher labels: a transfer set where there is no other text.

mask   each word is replaced by _ with probability `MASKED` (Tang et al. 2019; the blank of Xie et al. 2017, since
       [MASK] is a word of one tokenizer)
span   a run of the text's words, of any length: Tang's n-gram sampling
mix    a run of sentences of the text, then one of another text's
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .sentences import split_sentences

MASKED = 0.1
BLANK = "_"
_AUGMENT = 4  # a random stream beside those of the cuts


def augmented(texts: Sequence[str], copies: int, ways: Sequence[str], seed: int) -> Iterator[tuple[int, str, str]]:
    """For each text its copies: the text's row, the way and the altered text; equal arguments give equal copies."""
    generator = np.random.default_rng([seed, _AUGMENT])
    for row, text in enumerate(texts):
        for _ in range(copies):
            way = ways[int(generator.integers(len(ways)))]
            if way == "mask":
                yield row, way, _masked(text.split(), generator)
            elif way == "span":
                yield row, way, _run(text.split(), generator)
            else:
                other = texts[int(generator.integers(len(texts)))]
                yield row, way, f"{_run(split_sentences(text), generator)} {_run(split_sentences(other), generator)}"


def _masked(words: Sequence[str], generator: np.random.Generator) -> str:
    """At least one word is replaced, or the copy would be none."""
    chosen = generator.random(len(words)) < MASKED
    chosen[generator.integers(len(words))] = True
    return " ".join(BLANK if hidden else word for word, hidden in zip(words, chosen, strict=True))


def _run(parts: Sequence[str], generator: np.random.Generator) -> str:
    """Some consecutive parts, each length as likely as another."""
    length = int(generator.integers(1, len(parts) + 1))
    start = int(generator.integers(len(parts) - length + 1))
    return " ".join(parts[start : start + length])
