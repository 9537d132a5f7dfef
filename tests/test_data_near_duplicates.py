"""Near-duplicates: found all, and kept on one side of a cut."""

from __future__ import annotations

import random
import time
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from understudy.data.duplicates import words
from understudy.data.near_duplicates import OVERLAP, near_duplicate_groups, near_rows

few_words = st.lists(st.sampled_from("abcdefgh"), min_size=0, max_size=9).map(" ".join)


def overlap(one: str, other: str) -> float:
    ours, theirs = set(words(one)), set(words(other))
    return len(ours & theirs) / len(ours | theirs)


@given(st.lists(few_words, max_size=12))
def test_groups_are_what_comparing_all_pairs_gives(texts: list[str]) -> None:
    groups = near_duplicate_groups(texts)
    expected = list(range(len(texts)))
    for one, other in combinations(range(len(texts)), 2):
        if overlap(texts[one], texts[other]) > OVERLAP:
            expected = [expected[one] if group == expected[other] else group for group in expected]
    same = [(a == b) for a, b in combinations(groups, 2)]
    assert same == [(a == b) for a, b in combinations(expected, 2)]


@given(st.lists(few_words, max_size=9), st.lists(few_words, max_size=6))
def test_near_rows_are_what_comparing_all_pairs_gives(texts: list[str], held_out: list[str]) -> None:
    expected = [row for row, text in enumerate(texts) if any(overlap(text, other) > OVERLAP for other in held_out)]
    assert near_rows(texts, held_out).tolist() == expected


def test_case_and_punctuation_and_order_do_not_count() -> None:
    texts = ["Please submit the report today, Rina!", "please submit today the report rina", "please submit nothing"]
    groups = near_duplicate_groups(texts)
    assert groups[0] == groups[1] != groups[2]


def test_many_long_texts_take_seconds() -> None:
    rng = random.Random(0)
    vocabulary = [f"w{int(rng.paretovariate(0.6)) % 20_000}" for _ in range(20_000)]
    texts = [" ".join(rng.choices(vocabulary, k=120)) for _ in range(3_000)]
    begun = time.perf_counter()
    groups = near_duplicate_groups([*texts, texts[7] + " more"])
    assert time.perf_counter() - begun < 5
    assert len(set(groups)) == 3_000
