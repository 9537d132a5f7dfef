"""Text → token ids: which tokens of a long text are kept, and that no text costs more than it must."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from understudy.artifact import TextConfig
from understudy.data.text import Truncation
from understudy.tokenization import TextEncoder

CLS, SEP = 1, 2
WORDS = {"[UNK]": 0, "[CLS]": CLS, "[SEP]": SEP} | {f"w{number}": 10 + number for number in range(100)}


def encoder(truncation: Truncation, max_length: int, *, special: bool = True) -> TextEncoder:
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if special:
        around = [("[CLS]", CLS), ("[SEP]", SEP)]
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    return TextEncoder(tokenizer, TextConfig(("html", "nfc"), max_length, truncation))


def numbered(count: int) -> str:
    return " ".join(f"w{number}" for number in range(count))


def test_the_head_is_kept_unless_both_ends_are_asked_for() -> None:
    assert encoder("head", 8).encode([numbered(20)])[0].tolist() == [CLS, *range(10, 16), SEP]
    assert encoder("head_tail", 8).encode([numbered(20)])[0].tolist() == [CLS, 10, *range(25, 30), SEP]


@pytest.mark.parametrize("special", [True, False])
@given(words=st.integers(0, 60), longest=st.integers(4, 40))
def test_both_ends_are_the_ends_of_the_whole(special: bool, words: int, longest: int) -> None:
    whole = encoder("head", 1000, special=special).encode([numbered(words)])[0].tolist()
    kept = encoder("head_tail", longest, special=special).encode([numbered(words)])[0].tolist()
    assert kept == (whole if len(whole) <= longest else whole[: longest // 4] + whole[longest // 4 - longest :])


def test_the_ends_of_megabytes_are_found_without_tokenizing_the_middle() -> None:
    text = f"w1 w2 {'w9 ' * 4_000_000} w3 w4"
    started = time.perf_counter()
    kept = encoder("head_tail", 8, special=False).encode([text])[0].tolist()
    assert kept == [11, 12, 19, 19, 19, 19, 13, 14]
    assert time.perf_counter() - started < 0.5  # tokenizing all of it takes 3 seconds
