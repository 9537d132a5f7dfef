"""Text normalisation."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.config import DataConfig
from understudy.data import normalize
from understudy.errors import DataError

NAMES = ["html", "nfc", "users", "links", "treebank", "lower"]
ORDERS = [list(order) for size in range(7) for order in itertools.permutations(NAMES, size)]
PIECES = [
    "&",
    "amp;",
    "#38;",
    "lt;",
    "<",
    "br",
    "/",
    ">",
    "@",
    "ab",
    "www.",
    "https://",
    " ",
    "\n",
    "e",
    "\u0301",
    "\0",
    "n't",
    "..",
    '"',
    "İ",
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=14).map("".join),
    st.text(st.characters(exclude_categories=[]), max_size=20),
)


@pytest.mark.parametrize(
    ("names", "text", "expected"),
    [
        (["html"], "good<br /><br>bad<BR/>end", "good bad end"),
        (["html"], "Q&amp;A &lt;3 &#39;x&#39;", "Q&A <3 'x'"),
        (["html"], "&amp;lt;3", "<3"),
        (["nfc"], "cafe\u0301", "café"),
        (["users"], "@ann and @b_2: mail me@here.org", "@user and @user: mail me@here.org"),
        (["links"], "see https://t.co/x?y=1 or www.a.org/b, awww.cute", "see http or http awww.cute"),
        (["users", "links"], "https://x.org/@ann", "http"),
        (["nfc"], "  a \t\n b  ", "a b"),
        (["lower"], "A STRASSE İ", "a strasse i\u0307"),
        (["lower", "nfc"], "É", "é"),
        ([], "  a <br> \t b  ", "  a <br> \t b  "),
    ],
)
def test_what_each_option_does(names: list, text: str, expected: str) -> None:
    assert normalize(text, names) == expected


def test_options_apply_in_the_given_order() -> None:
    assert normalize("@www.a.b", ["users", "links"]) == "@user.a.b"
    assert normalize("@www.a.b", ["links", "users"]) == "@user"
    assert normalize("www.a<br>b", ["html", "links"]) == "http b"
    assert normalize("www.a<br>b", ["links", "html"]) == "http"


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(DataError) as error:
        normalize("a", ["html", "upper"])
    expected = "unknown text normalisation 'upper'; expected html, nfc, users, links, treebank, lower"
    assert str(error.value) == expected


def test_every_option_of_a_recipe_is_known() -> None:
    config = DataConfig(train="a.csv", normalize=["html", "nfc", "users", "links"])
    assert normalize("@x www.y", config.normalize) == "@user http"


def test_without_any_option_tokenizers_still_get_valid_text() -> None:
    assert normalize("a\0b \ud800 c", []) == "a b \ufffd c"
    assert normalize("\ud83d\ude00", []) == "😀"  # two halves of one character


@given(TEXTS, st.sampled_from(ORDERS))
def test_normalising_twice_is_normalising_once(text: str, names: list) -> None:
    once = normalize(text, names)
    assert normalize(once, names) == once
    assert "\0" not in once
    once.encode("utf-8")
    assert not names or once == " ".join(once.split())


def test_nested_entities_cannot_stall_a_server() -> None:
    text = "&" + "amp;" * 100_000
    started = time.perf_counter()
    once = normalize(text, ["html"])
    assert time.perf_counter() - started < 5
    assert normalize(once, ["html"]) == once
