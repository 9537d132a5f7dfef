"""Cuts and subsets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.data import containment_cut, stratified_cut, stratified_subset
from understudy.data.containment import SHORTEST, related_rows
from understudy.data.duplicates import first_occurrences, key, not_in, words
from understudy.data.splitting import stratified_folds
from understudy.data.task import Split

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=120).map(lambda labels: np.array(labels, dtype=np.int64))
SHARES = st.floats(0, 1)
SEEDS = st.integers(0, 5)
PHRASES = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=9).map(" ".join), min_size=2, max_size=40)


@given(LABELS, SHARES, SEEDS)
def test_a_cut_is_a_stratified_partition(labels: np.ndarray, share: float, seed: int) -> None:
    kept, cut = stratified_cut(labels, share, seed)
    assert sorted([*kept, *cut]) == list(range(len(labels)))
    assert list(kept) == sorted(kept)
    assert list(cut) == sorted(cut)
    for label in np.unique(labels):
        size = (labels == label).sum()
        taken = (labels[cut] == label).sum()
        assert abs(taken - share * size) <= 1
        assert taken < size
        assert taken >= min(1, size - 1)


@given(LABELS, st.integers(2, 7), SEEDS)
def test_folds_are_stratified_and_of_one_size(labels: np.ndarray, folds: int, seed: int) -> None:
    fold = stratified_folds(labels, folds, seed)
    assert set(fold) <= set(range(folds))
    for rows in (np.ones(len(labels), dtype=bool), *(labels == label for label in np.unique(labels))):
        sizes = np.bincount(fold[rows], minlength=folds)
        assert sizes.max() - sizes.min() <= 1
    assert np.array_equal(fold, stratified_folds(labels, folds, seed))


def test_folds_are_random() -> None:
    labels = np.arange(300) % 3
    one, other = (stratified_folds(labels, 5, seed) for seed in (0, 1))
    assert 0.1 < (one == other).mean() < 0.3  # a fifth of the rows, by chance
    assert len({tuple(one[start : start + 15]) for start in range(0, 300, 15)}) == 20


def test_a_cut_has_its_share_in_total() -> None:
    labels = np.repeat(np.arange(10), 15)  # 1.5 rows of each class: rounding each alone would give 20 rows
    assert len(stratified_cut(labels, 0.1, 0)[1]) == 15


@given(LABELS, SEEDS)
def test_a_cut_gives_at_least_what_is_asked(labels: np.ndarray, seed: int) -> None:
    _, cut = stratified_cut(labels, 0.01, seed, least=3)
    for label in np.unique(labels):
        assert (labels[cut] == label).sum() == min(3, (labels == label).sum() - 1)


@given(LABELS, SHARES, SEEDS, st.data())
def test_groups_stay_on_one_side(labels: np.ndarray, share: float, seed: int, data: st.DataObject) -> None:
    groups = data.draw(st.lists(st.integers(0, 30), min_size=len(labels), max_size=len(labels)))
    kept, cut = stratified_cut(labels, share, seed, groups)
    assert sorted([*kept, *cut]) == list(range(len(labels)))
    assert not {groups[row] for row in kept} & {groups[row] for row in cut}


def test_groups_keep_the_stratification_near() -> None:
    random = np.random.default_rng(0)
    labels = (random.random(4000) < 0.2).astype(np.int64)
    groups = random.integers(0, 800, 4000).tolist()
    _, cut = stratified_cut(labels, 0.25, 0, groups)
    assert abs(len(cut) - 1000) <= 20
    assert abs(labels[cut].sum() - 0.25 * labels.sum()) <= 10


def test_the_seed_decides_and_nothing_else() -> None:
    labels = np.arange(200) % 3
    groups = (np.arange(200) // 2).tolist()
    for given_groups in (None, groups):
        one, again, other = (stratified_cut(labels, 0.2, seed, given_groups)[1].tolist() for seed in (1, 1, 2))
        assert one == again != other
    one, again, other = (stratified_subset(labels, 50, seed).tolist() for seed in (1, 1, 2))
    assert one == again != other


@given(LABELS, st.integers(1, 130), st.integers(1, 130), SEEDS)
def test_a_smaller_subset_lies_in_a_larger_one(labels: np.ndarray, one: int, other: int, seed: int) -> None:
    small, large = (stratified_subset(labels, limit, seed) for limit in sorted((one, other)))
    assert set(small) <= set(large)
    assert len(large) == min(max(one, other), len(labels))
    assert list(large) == sorted(set(large))


@given(LABELS, st.integers(4, 130), SEEDS)
def test_a_subset_is_stratified(labels: np.ndarray, limit: int, seed: int) -> None:
    chosen = labels[stratified_subset(labels, limit, seed)]
    for label in np.unique(labels):
        share = (labels == label).mean() * len(chosen)
        assert abs((chosen == label).sum() - share) <= 2
        assert (chosen == label).any()


def test_a_subset_of_a_sorted_file_is_no_prefix() -> None:
    labels = np.repeat([0, 1], 500)
    assert np.bincount(labels[stratified_subset(labels, 100, 0)]).tolist() == [50, 50]
    labels = np.repeat([0, 1], [900, 100])
    assert np.bincount(labels[stratified_subset(labels, 100, 0)]).tolist() == [90, 10]


def occurs(inner: list[str], outer: list[str]) -> bool:
    return any(outer[start : start + len(inner)] == inner for start in range(len(outer) - len(inner) + 1))


@given(PHRASES, SHARES, SEEDS)
def test_a_containment_cut_leaks_nothing(texts: list[str], share: float, seed: int) -> None:
    labels = np.arange(len(texts)) % 2
    kept, cut, dropped = containment_cut(texts, labels, share, seed)
    assert sorted([*kept, *cut, *dropped]) == list(range(len(texts)))
    for held in cut:
        whole = words(texts[held])
        for row in kept:
            phrase = words(texts[row])
            assert not occurs(whole, phrase)
            assert len(phrase) < SHORTEST or not occurs(phrase, whole)
    for row in dropped:
        assert any(occurs(words(texts[row]), words(texts[held])) for held in cut)


def test_a_containment_cut_takes_whole_sentences() -> None:
    sentences = [f"sentence {name} says that the film is {name} indeed ." for name in "abcdefghij"]
    phrases = [f"says that the film is {name}" for name in "abcdefghij"]
    short = ["the film", "The film!", "that the film"]
    texts = [*short, *phrases, *sentences]
    labels = np.array([0, 1, 0] + [0, 1] * 10)
    kept, cut, dropped = containment_cut(texts, labels, 0.2, 7)
    assert len(cut) == 2
    assert all(texts[row] in sentences for row in cut)
    assert sorted(labels[cut]) == [0, 1]
    assert [phrases.index(texts[row]) for row in dropped] == [sentences.index(texts[row]) for row in cut]
    assert {0, 1, 2} <= set(kept)


@given(PHRASES, PHRASES)
def test_related_rows_are_found_in_both_directions(texts: list[str], held_out: list[str]) -> None:
    found = related_rows(texts, held_out)
    for row, text in enumerate(texts):
        related = False
        for other in held_out:
            one, two = sorted((words(text), words(other)), key=len)
            related |= len(one) >= SHORTEST and len(one) < len(two) and occurs(one, two)
        assert related == (row in found)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Good, film!", "good film", True),
        ("it's", "IT 'S", True),
        ("STRASSE", "straße", True),
        ("Ｆilm №5", "film No5", True),
        ("good :)", "good", True),
        ("!!!", "???", False),
        ("good 😀", "good 😡", False),
        ("5 €", "5", False),
    ],
)
def test_which_texts_are_the_same_but_for_case_and_punctuation(one: str, other: str, same: bool) -> None:
    assert (key(one) == key(other)) is same


def test_the_first_of_equal_texts_is_kept() -> None:
    split = Split("train", list("abcde"), ["x", "y", "x", "x", "y"], np.array([0, 1, 0, 1, 0]))
    unique = first_occurrences(split)
    assert (unique.rows.tolist(), unique.same, unique.conflicting) == ([0, 1], 1, 2)


def test_texts_that_recur_are_counted_by_how_they_recur() -> None:
    fresh = not_in(["good film", "Bad film", "new"], ["good film", "bad film!"])
    assert (fresh.rows.tolist(), fresh.exact, fresh.normalized) == ([2], 1, 1)
