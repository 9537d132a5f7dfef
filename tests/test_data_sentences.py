"""Sentences of English prose, and words and punctuation apart."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.data import normalize
from understudy.data.sentences import split_sentences
from understudy.data.treebank import treebank

PIECES = ["Mr", "etc", "U.S", "e.g", "great", "The", "I", "J", "7", "no", "..", "...", "?!", *".!…\"'”(),"]
PIECES += [" ", " ", "<br />", "\n", "\n\n", "``", "''", "’", "-- ", "it's", "don't", "girls'", "cannot", "1,000"]
TEXTS = st.one_of(st.lists(st.sampled_from(PIECES), max_size=24).map("".join), st.text(max_size=30))


@pytest.mark.parametrize(
    "sentences",
    [
        ["It was good.", "I liked it!", "Did you?", "Yes..."],
        ["Mr. Smith met Dr. J. K. Jones vs. the U.S. army, e.g. in St. Ives.", "Then he left."],
        ["Warner Bros. made it, with guns etc. in it.", "It has cars, guns, etc.", "He left."],
        ['He said "Why?" and left.', 'She said "No."', '"Yes!" he said.', "(He lied.)", "He did (really!) lie."],
        ["wait ... what is this?", "A pause... and on.", "A pause...", "And on…", "Then on."],
        ["1. The plot.", "2. The cast.", "I give it 7.", "Or 7.5 of 10."],
        ["it was bad.", "so was the sound.", "do not see it!", "ever"],
        ["No. 9 is the best.", "I say no.", "She says yes.", "And so did I.", "Twice."],
        ["a film that sucks .", "it 's bad .", "see mr. smith"],
    ],
)
def test_prose_is_cut_where_its_sentences_end(sentences: list[str]) -> None:
    assert split_sentences(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("The end<br /><br />of it", ["The end", "of it"]),
        ("A list:\n\n one\n two", ["A list:", "one\n two"]),
        ("It was great.The cast too!And www.imdb.com of the U.S.A", ["It was great.", "The cast too!"]),
        (" <br> \n ", []),
        ("", []),
    ],
)
def test_breaks_end_a_sentence_and_a_missing_space_does_not_hide_one(text: str, sentences: list[str]) -> None:
    assert split_sentences(text)[:2] == sentences


@given(TEXTS)
def test_nothing_is_lost_and_a_sentence_is_one(text: str) -> None:
    def visible(text: str) -> str:
        return "".join(re.sub(r"</?br\s*/?>", "", text, flags=re.IGNORECASE).split())

    sentences = split_sentences(text)
    assert visible("".join(sentences)) == visible(text)
    assert all(sentence and sentence == sentence.strip() for sentence in sentences)
    assert [split_sentences(sentence) for sentence in sentences] == [[sentence] for sentence in sentences]


@pytest.mark.parametrize(
    "text",
    ["." * 3 * 10**5, "e.g. " * 3 * 10**4, "\n" * 3 * 10**5, "J. " * 3 * 10**4, 'a." ' * 3 * 10**4, "'" * 3 * 10**5],
)
def test_no_text_can_stall_it(text: str) -> None:
    started = time.perf_counter()
    split_sentences(text)
    treebank(text)
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    ("raw", "apart"),
    [
        ("It's a lovely, well-made film.", "It 's a lovely , well-made film ."),
        ("I don't, can't and CAN'T; you're", "I do n't , ca n't and CA N'T ; you 're"),
        ('He said "great" ("so-so"!?)', "He said `` great '' ( `` so-so '' !? )"),
        ("“Curly” ‘quotes’ and the girls’ car…", "`` Curly '' ` quotes ' and the girls ' car ..."),
        ("Mr. Smith of the U.S. and No. 9, et al., etc.", "Mr. Smith of the U.S. and No. 9 , et al. , etc."),
        ("in the '70s: get 'em", "in the '70s : get 'em"),
        ("1,000 at 10:30: wow,no", "1,000 at 10:30 : wow , no"),
        ("a—b -- c---d....e", "a -- b -- c -- d ... e"),
        ("cannot, gonna, wanna and gotta; canned", "can not , gon na , wan na and got ta ; canned"),
        ("The end.) The “end.”", "The end . ) The `` end . ''"),
        ("and/or Dog's O'Hara a_b @user http #tag", "and/or Dog 's O'Hara a_b @user http #tag"),
    ],
)  # fmt: skip
def test_treebank_sets_words_and_punctuation_apart(raw: str, apart: str) -> None:
    assert treebank(raw) == apart
    assert normalize(raw, ["treebank", "lower"]) == apart.lower()


@pytest.mark.parametrize(
    "text",
    [
        "it 's a film that does n't , well , ` work ' -- not for the critics ' pick ...",
        "mr. lee , no. 1 of the '70s , ca n't help 'em ; `` hey arnold '' ( the movie ) , et al. , is n't it ?!?",
        "` thank you ! '",
        "an `` a '' list , $ 1.8 million ; u.s. rock 'n' roll",
    ],
)
def test_text_that_is_of_that_form_stays(text: str) -> None:
    assert treebank(text) == text


@given(TEXTS)
def test_treebank_leaves_every_letter_in_its_place(text: str) -> None:
    def letters(text: str) -> str:
        return "".join(character for character in text if character.isalnum())

    once = normalize(text, ["treebank"])
    assert normalize(once, ["treebank"]) == once
    assert letters(once) == letters(text)
