"""Label mappings: names and policies, and the laws of what each does to probabilities."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax as scipy_softmax

from understudy.errors import ArtifactError
from understudy.label_mapping import (
    LABEL_MAP_FILE,
    LabelMapping,
    label_permutation,
    map_labels,
    mapping_summary,
    read_mapping,
    write_mapping,
)

Floats = NDArray[np.float64]
THEIRS, OURS = ("negative", "neutral", "positive"), ("positive", "negative")
RENAMED = {"neutral": "positive"}


def logits_like(seed: int, columns: int, rows: int = 50) -> Floats:
    return np.random.default_rng(seed).normal(scale=4, size=(rows, columns))


def dropping(policy: Any = "drop_and_renormalise") -> LabelMapping:
    return map_labels(THEIRS, OURS, {}, policy)


# What a policy does to probabilities


@pytest.mark.parametrize("policy", ["drop_and_renormalise", "abstain"])
@given(seed=st.integers(0, 10**6), shift=st.floats(-700, 700))
@settings(deadline=None, max_examples=30)
def test_what_is_dropped_is_shared_out_in_proportion(policy: Any, seed: int, shift: float) -> None:
    logits = logits_like(seed, 3) + shift
    theirs, ours = scipy_softmax(logits, axis=1), scipy_softmax(dropping(policy).apply(logits), axis=1)
    np.testing.assert_allclose(ours, theirs[:, [2, 0]] / theirs[:, [2, 0]].sum(axis=1, keepdims=True), rtol=1e-9)
    np.testing.assert_allclose(ours.sum(axis=1), 1)


@given(seed=st.integers(0, 10**6), shift=st.floats(-700, 700))
@settings(deadline=None, max_examples=30)
def test_what_is_merged_adds_up(seed: int, shift: float) -> None:
    logits = logits_like(seed, 3) + shift
    mapping = map_labels(THEIRS, OURS, RENAMED, "merge")
    theirs, ours = scipy_softmax(logits, axis=1), scipy_softmax(mapping.apply(logits), axis=1)
    np.testing.assert_allclose(ours, np.stack([theirs[:, 1] + theirs[:, 2], theirs[:, 0]], axis=1), rtol=1e-9)
    assert not mapping.dropped_mass(logits).any()


def test_log_probabilities_are_logits_too_and_none_is_lost_where_a_probability_is_0() -> None:
    probabilities = np.array([[0.2, 0.5, 0.3], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1e-300, 0.9, 1e-300]])
    with np.errstate(divide="ignore"):
        logs = np.log(probabilities)
    merged = np.exp(map_labels(THEIRS, OURS, RENAMED, "merge").apply(logs))
    np.testing.assert_allclose(merged, [[0.8, 0.2], [1, 0], [0, 1], [0.9, 1e-300]], rtol=1e-12)
    kept = scipy_softmax(dropping().apply(logs), axis=1)
    np.testing.assert_allclose(kept, [[0.6, 0.4], [1, 0], [0, 1], [0.5, 0.5]], rtol=1e-12)


def test_what_a_policy_takes_away_is_measured() -> None:
    logits = np.log([[0.2, 0.5, 0.3], [0.45, 0.1, 0.45], [0.1, 0.8, 0.1]])
    for policy, silent in (("drop_and_renormalise", []), ("abstain", [0, 2])):
        mapping = dropping(policy)
        np.testing.assert_allclose(mapping.dropped_mass(logits), [0.5, 0.1, 0.8])
        assert np.flatnonzero(mapping.best_means_nothing(logits)).tolist() == [0, 2]
        assert np.flatnonzero(mapping.abstains(logits)).tolist() == silent


@pytest.mark.parametrize(
    ("policy", "fate"), [("drop_and_renormalise", "answered by the others"), ("abstain", "left out")]
)
def test_a_person_is_told(policy: Any, fate: str) -> None:
    measured = dropping(policy).to_dict() | {
        "dropped_mass": {"train": 0.2134}, "best_means_nothing": {"train": 7}, "texts": {"train": 40}
    }  # fmt: skip
    assert mapping_summary(measured) == [
        f"label_policy {policy}: negative → negative, neutral → nothing, positive → positive",
        f"train: 21.3% of the probability dropped; 7 of 40 texts have such a label as the best, {fate}",
    ]
    assert mapping_summary(None) == []


@pytest.mark.parametrize("policy", ["drop_and_renormalise", "abstain", "merge"])
def test_a_mapping_is_what_it_was_when_it_is_read_again(policy: Any, tmp_path: Path) -> None:
    mapping = map_labels(THEIRS, OURS, RENAMED if policy == "merge" else {"neutral": ""}, policy)
    write_mapping(mapping, tmp_path)
    assert read_mapping(tmp_path) == mapping
    (tmp_path / LABEL_MAP_FILE).write_text('{"policy": "merge"}')
    with pytest.raises(ArtifactError, match=r"label_map.json is damaged; copy the whole directory again or rerun"):
        read_mapping(tmp_path)
    (tmp_path / LABEL_MAP_FILE).unlink()
    assert read_mapping(tmp_path) is None


# Which label means which


@pytest.mark.parametrize("policy", ["drop_and_renormalise", "abstain", "merge"])
def test_a_policy_with_nothing_to_do_is_refused(policy: Any) -> None:
    with pytest.raises(ArtifactError, match=f"one for one .*: label_policy {policy} has nothing to do; set label_poli"):
        map_labels(["Negative", "positive"], OURS, {}, policy)


@pytest.mark.parametrize(
    ("mapping", "policy", "found"),
    [
        ({}, "exact", "extra: 'neutral'; .*, or label_policy to drop_and_renormalise, merge or abstain$"),
        (RENAMED, "exact", "doubled: 'positive'; "),
        ({}, "merge", "extra: 'neutral'; .*with label_policy merge, label_map gives each of the classifier's labels"),
        ({"neutral": ""}, "merge", "extra: 'neutral'; "),
        (RENAMED, "drop_and_renormalise", "doubled: 'positive'; .*with label_policy drop_and_renormalise, label_map g"),
        (RENAMED, "abstain", "doubled: 'positive'; "),
        ({"neutral": "posittive"}, "abstain", "in label_map but not the task's: 'posittive'; "),
        ({"positive": ""}, "drop_and_renormalise", "missing: 'positive'; "),
    ],
)
def test_labels_that_do_not_fit_a_policy(mapping: dict[str, str], policy: Any, found: str) -> None:
    with pytest.raises(ArtifactError, match=f"^the classifier's labels do not fit the task's: {found}"):
        map_labels(THEIRS, OURS, mapping, policy)


@settings(deadline=None)
@given(st.permutations(["anger", "fear", "joy", "love", "Sadness"]), st.lists(st.booleans(), min_size=5, max_size=5))
def test_columns_are_found_in_any_order_and_case(theirs: list[str], shout: list[bool]) -> None:
    ours = ["Sadness", "joy", "love", "anger", "fear"]
    named = [name.upper() if loud else name for name, loud in zip(theirs, shout, strict=True)]
    columns = label_permutation(named, ours, {})
    assert [theirs[column] for column in columns] == ours


def test_a_map_renames_their_labels() -> None:
    assert label_permutation(["LABEL_0", "LABEL_1"], ["pos", "neg"], {"LABEL_0": "neg", "LABEL_1": "POS"}) == [1, 0]


def test_names_that_differ_in_case_alone_are_told_apart() -> None:
    assert label_permutation(["us", "US"], ["US", "us"], {}) == [1, 0]


ADVICE = "; set label_map to give each of the classifier's labels one of the task's"


@pytest.mark.parametrize(
    ("theirs", "ours", "mapping", "found"),
    [
        (
            ["LABEL_0", "neg"],
            ["neg", "pos"],
            {},
            "missing: 'pos'; extra: 'LABEL_0'; got 'LABEL_0', 'neg', expected 'neg', 'pos'",
        ),
        (["neg", "pos"], ["neg", "neutral", "pos"], {}, "missing: 'neutral'; got 'neg', 'pos', expected {ours}"),
        (["neg", "other", "pos"], ["neg", "pos"], {}, "extra: 'other'; got {theirs}, expected 'neg', 'pos'"),
        (["neg", "NEG"], ["neg"], {}, "doubled: 'neg'; got 'neg', 'NEG', expected 'neg'"),
        (
            ["a", "b"],
            ["x", "y"],
            {"a": "x", "b": "x"},
            "missing: 'y'; doubled: 'x'; got 'a', 'b', expected 'x', 'y'",
        ),
        (["Us"], ["us", "US"], {}, "missing: 'us', 'US'; extra: 'Us'; got 'Us', expected 'us', 'US'"),
        (["a"], ["a"], {"A": "a"}, "in label_map but not the classifier's: 'A'; got 'a', expected 'a'"),
    ],
)
def test_labels_that_do_not_fit_are_named(
    theirs: list[str], ours: list[str], mapping: dict[str, str], found: str
) -> None:
    found = found.format(ours=", ".join(map(repr, ours)), theirs=", ".join(map(repr, theirs)))
    sentence = f"the classifier's labels do not fit the task's: {found}{ADVICE}"
    with pytest.raises(ArtifactError, match=f"^{re.escape(sentence)}$"):
        label_permutation(theirs, ours, mapping)
