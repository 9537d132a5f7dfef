"""The transfer set beside train: texts of files, their sentences, altered copies; what never comes into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_data_preparing import TASK, Files, mood, save
from understudy.data import Prepared, Split, Task, normalize
from understudy.data.augmentation import BLANK, augmented
from understudy.data.containment import SHORTEST
from understudy.data.duplicates import key, words
from understudy.data.sentences import split_sentences

WAYS = ["mask", "span", "mix"]
REVIEW = "Val number 3! It was, as they say, well made.<br /><br />I liked it. Text number 7 says: It has no end..."


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Splits, and two files of reviews; some of their sentences are texts of the splits."""
    files = Files(tmp_path).add("train", mood(60, "Text"))
    files.add("val", mood(20, "val")).add("test", [*mood(30, "test"), ("the end of it all now", "bad")])
    more = [f"A film of {number}. It ends." for number in range(40)]
    save(tmp_path / "reviews.jsonl", [(REVIEW, ""), ("", ""), *((text, "") for text in more)])
    save(
        tmp_path / "others.jsonl",
        [(f"{text} Text number 7", "") for text in (*more, "So it was the end of it all now")],
    )
    files.given["unlabeled"] = ["reviews.jsonl", "others.jsonl"]  # type: ignore[assignment]
    return files


def held_out(prepared: Prepared) -> list[str]:
    return [*prepared.val.texts, *prepared.test.texts]


def check_counts(prepared: Prepared) -> None:
    """What was made is there or was dropped, and said to be."""
    origins, dropped = prepared.counts["unlabeled"], prepared.counts["dropped"]
    left_out = [
        count
        for split in ("unlabeled", "augmented")
        for reason, count in dropped.get(split, {}).items()
        if reason != "empty"
    ]
    assert sum(origin["rows"] for origin in origins.values()) == len(prepared.unlabeled)
    assert sum(origin["made"] for origin in origins.values()) == len(prepared.unlabeled) + sum(left_out)
    for name, origin in origins.items():
        assert sum(example.startswith(f"{name}:") for example in prepared.unlabeled.ids) == origin["rows"]


def check_apart(prepared: Prepared) -> None:
    """No text twice, none of train, and none of val or test, whatever its case and punctuation."""
    texts = list(prepared.unlabeled.texts)
    assert len(set(texts)) == len(texts)
    assert len(set(prepared.unlabeled.ids)) == len(texts)
    assert not set(texts) & set(prepared.train.texts)
    assert not {key(text) for text in texts} & {key(text) for text in held_out(prepared)}
    assert (prepared.unlabeled.labels == -1).all()


# Sentences


def test_sentences_take_the_place_of_their_texts(files: Files) -> None:
    prepared = files.prepare(unlabeled_sentences=True)
    first = dict(zip(prepared.unlabeled.ids, prepared.unlabeled.texts, strict=True))
    assert {example: text for example, text in first.items() if example.startswith("unlabeled0:0.")} == {
        "unlabeled0:0.1": "It was, as they say, well made.",
        "unlabeled0:0.2": "I liked it.",
        "unlabeled0:0.3": "Text number 7 says: It has no end...",
    }
    assert prepared.counts["unlabeled"] == {
        "unlabeled0": {"name": "reviews.jsonl", "what": "sentences", "texts": 41, "made": 84, "rows": 44},
        "unlabeled1": {"name": "others.jsonl", "what": "sentences", "texts": 41, "made": 121, "rows": 1},
    }
    assert prepared.counts["dropped"]["unlabeled"] == {
        "empty": 1, "duplicate": 158, "held_out_normalized": 1, "in_train": 1,
    }  # fmt: skip
    check_counts(prepared)
    check_apart(prepared)


def test_whole_texts_are_counted_by_file_too(files: Files) -> None:
    prepared = files.prepare()
    assert [origin["what"] for origin in prepared.counts["unlabeled"].values()] == ["texts", "texts"]
    assert [origin["rows"] for origin in prepared.counts["unlabeled"].values()] == [41, 41]
    check_counts(prepared)
    check_apart(prepared)


def test_a_sentence_is_normalised_as_a_text_is(files: Files) -> None:
    names = ["html", "nfc", "treebank", "lower"]
    prepared = files.prepare(unlabeled_sentences=True, normalize=names)
    assert "it was , as they say , well made ." in prepared.unlabeled.texts
    for text in prepared.unlabeled.texts:
        assert normalize(text, names) == text


def test_sentences_that_hold_a_held_out_text_are_left_out_on_request(files: Files) -> None:
    loose, strict = (files.prepare(unlabeled_sentences=True, group_by=by) for by in ("", "containment"))
    assert "So it was the end of it all now Text number 7" in loose.unlabeled.texts
    assert strict.counts["dropped"]["unlabeled"]["contained"] == 1
    check_counts(strict)


def test_length_is_counted_in_words(files: Files) -> None:
    bounds = {"unlabeled_min_words": 3, "unlabeled_max_words": 6}
    prepared = files.prepare(unlabeled_sentences=True, **bounds)
    lengths = [len(text.split()) for text in prepared.unlabeled.texts]
    assert (min(lengths), max(lengths)) == (3, 4)
    assert prepared.counts["dropped"]["unlabeled"] | {"short": 80, "long": 3} == prepared.counts["dropped"]["unlabeled"]
    assert not [line for line in prepared.warnings if " 80 " in line]  # it was asked for
    check_counts(prepared)


def test_the_limit_is_a_seeded_subset(files: Files) -> None:
    whole = files.prepare(unlabeled_sentences=True)
    small, again, large, other = (
        files.prepare(seed, unlabeled_sentences=True, unlabeled_limit=limit)
        for seed, limit in ((0, 10), (0, 10), (0, 30), (1, 10))
    )
    assert small.unlabeled.ids == again.unlabeled.ids
    assert len(small.unlabeled) == 10
    assert set(small.unlabeled.ids) < set(large.unlabeled.ids) < set(whole.unlabeled.ids)
    assert set(small.unlabeled.ids) != set(other.unlabeled.ids)
    assert small.counts["dropped"]["unlabeled"]["limit"] == len(whole.unlabeled) - 10
    assert small.warnings == whole.warnings  # it was asked for
    check_counts(small)
    assert len(files.prepare(unlabeled_limit=900).unlabeled) == len(files.prepare().unlabeled)


# Altered copies


def test_there_are_no_copies_unless_they_are_asked_for(files: Files) -> None:
    assert files.prepare(unlabeled=[]).counts["unlabeled"] == {}
    assert len(files.prepare(unlabeled=[], augment=1).unlabeled) > 0


@pytest.mark.parametrize("group_by", ["", "containment"])
@pytest.mark.parametrize("ways", [WAYS, *([way] for way in WAYS)])
def test_copies_join_the_transfer_set_and_nothing_else(files: Files, ways: list[str], group_by: str) -> None:
    plain, prepared = (
        files.prepare(group_by=group_by, normalize=["html", "treebank", "lower"], **more)
        for more in ({}, {"augment": 3, "augment_ways": ways})
    )
    assert prepared.counts["unlabeled"]["augmented"]["made"] == 3 * len(prepared.train)
    assert list(prepared.unlabeled.ids[: len(plain.unlabeled)]) == list(plain.unlabeled.ids)
    copies = prepared.unlabeled.ids[len(plain.unlabeled) :]
    assert {example.split(":")[1].rstrip("0123456789") for example in copies} == set(ways)
    assert {example.split(":", 2)[2] for example in copies} <= set(prepared.train.ids)
    for name in ("train", "val", "test"):
        assert getattr(prepared, name).texts == getattr(plain, name).texts
    assert all(normalize(text, ["html", "treebank", "lower"]) == text for text in prepared.unlabeled.texts)
    check_counts(prepared)
    check_apart(prepared)


def test_the_seed_decides_the_copies(files: Files) -> None:
    one, again, other = (files.prepare(seed, unlabeled=[], augment=2).unlabeled.texts for seed in (0, 0, 1))
    assert one == again != other


FEW_WORDS = st.lists(st.sampled_from([*"abcdef.!", "good", "bad"]), min_size=1, max_size=9).map(" ".join)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(FEW_WORDS, min_size=12, max_size=30), st.lists(FEW_WORDS, max_size=12), st.integers(0, 9), st.booleans()
)
def test_no_text_of_val_or_test_comes_into_the_transfer_set(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], more: list[str], seed: int, contained: bool
) -> None:
    files = Files(tmp_path_factory.mktemp("law"))
    labelled = [(text, TASK.labels[row % 2]) for row, text in enumerate(texts)]
    files.add("train", [*mood(8), *labelled[8:]]).add("val", [*mood(2), *labelled[:4]]).add("test", labelled[4:8])
    save(files.base / "more.jsonl", [(" ".join(more), ""), ("x", ""), *((text, "") for text in more)])
    group_by = "containment" if contained else ""
    prepared = files.prepare(seed, unlabeled=["more.jsonl"], unlabeled_sentences=True, augment=3, group_by=group_by)
    check_apart(prepared)
    check_counts(prepared)
    if contained:
        for text in map(words, prepared.unlabeled.texts):
            for other in map(words, held_out(prepared)):
                assert not inside(other, text) and not inside(text, other)


def inside(run: list[str], text: list[str]) -> bool:
    return len(run) >= SHORTEST and any(text[start : start + len(run)] == run for start in range(len(text)))


# The ways themselves


TEXTS = ["The plot is thin. I liked it! Did you?", "one two three", "Word.", "A b c d e f g h i j k l m n o p. No!"]


def copies(way: Any, count: int = 200) -> list[tuple[str, str]]:
    return [(TEXTS[row], text) for row, _, text in augmented(TEXTS, count, [way], seed=3)]


def test_masked_words_are_blanks_and_the_others_stay() -> None:
    shares = []
    for source, text in copies("mask"):
        pairs = list(zip(source.split(), text.split(), strict=True))
        assert all(new in (old, BLANK) for old, new in pairs)
        shares.append(sum(new == BLANK for _, new in pairs))
    assert min(shares) == 1
    assert 0.08 < (sum(shares) - len(shares)) / (200 * sum(len(t.split()) - 1 for t in TEXTS)) < 0.12


def test_a_span_is_a_run_of_words_of_any_length() -> None:
    lengths = {source: set[int]() for source in TEXTS}
    for source, text in copies("span"):
        assert f" {text} " in f" {source} "
        lengths[source].add(len(text.split()))
    assert lengths == {source: set(range(1, len(source.split()) + 1)) for source in TEXTS}


def test_a_mix_begins_with_sentences_of_its_text_and_goes_on_with_another() -> None:
    others = set()
    runs = {text: sentence_runs(text) for text in TEXTS}
    for source, mixed in copies("mix"):
        found = [other for other in TEXTS for one in runs[source] for two in runs[other] if mixed == f"{one} {two}"]
        assert found
        others |= set(found)
    assert others == set(TEXTS)


def sentence_runs(text: str) -> list[str]:
    parts = split_sentences(text)
    return [" ".join(parts[a:b]) for a in range(len(parts)) for b in range(a + 1, len(parts) + 1)]


def test_every_way_that_is_given_is_as_likely_as_another() -> None:
    ways = [way for _, way, _ in augmented(TEXTS, 300, ["mask", "mix"], seed=0)]
    assert abs(ways.count("mask") / len(ways) - 0.5) < 0.05
    assert set(ways) == {"mask", "mix"}


def test_several_labels_and_copies(tmp_path: Path) -> None:
    task = Task("topics", ("a", "b"), "micro_f1", "multi")
    rows = [(f"text {row} of two words", ("a", "b", "a|b", "")[row % 4]) for row in range(60)]
    prepared = Files(tmp_path).add("train", rows).prepare(task=task, augment=1)
    assert isinstance(prepared.unlabeled, Split)
    assert prepared.unlabeled.labels.shape == (len(prepared.unlabeled), 2)
    assert (prepared.unlabeled.labels == -1).all()
