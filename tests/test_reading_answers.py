"""From a language model's answer to the labels: token probabilities where they decide, names where they do not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from understudy.answering.reading import has_token_probabilities, label_named, probabilities_of

MOOD = ["positive", "negative", "neutral"]


def choice(*positions: dict[str, float], finish: str = "stop") -> dict[str, Any]:
    """An answer whose tokens are the first of each position."""
    content = []
    for shares in positions:
        top = [{"token": token, "logprob": math.log(share)} for token, share in shares.items()]
        content.append({**top[0], "top_logprobs": top})
    return {"logprobs": {"content": content}, "finish_reason": finish}


@pytest.mark.parametrize(
    ("positions", "names", "expected"),
    [
        ([{"positive": 0.7, "negative": 0.2, "neutral": 0.1}], MOOD, [0.7, 0.2, 0.1]),
        ([{" Positive": 0.7, "NEG": 0.2, " neutral": 0.1}], MOOD, [0.7, 0.2, 0.1]),  # case, white space, first pieces
        ([{"positive": 0.5, "positives": 0.2, "Pos": 0.2, "neutral": 0.1}], MOOD, [0.875, 0, 0.125]),
        ([{"positive": 0.6, "bad": 0.4}], MOOD, [1, 0, 0]),  # what is on no label is left out
        ([{"positive": 0.6, "neutral": 0.2}], MOOD, [0.6, 0.2, 0.2]),  # not among the alternatives: what they lack to 1
        ([{'"': 1.0}, {"negative": 0.75, "positive": 0.25}], MOOD, [0.25, 0.75, 0]),  # a quotation mark first
        (
            [{"ne": 0.8, "positive": 0.2}, {"gative": 0.75, "utral": 0.25}],
            MOOD,
            [0.2, 0.6, 0.2],
        ),  # a shared first token
        ([{"very": 1.0}, {" good": 0.9, " bad": 0.1}], ["very good", "very bad"], [0.9, 0.1]),
        ([{"joy": 1.0}, {"ful": 0.75, ".": 0.25}], ["joy", "joyful"], [0.25, 0.75]),
        ([{"joy": 1.0}], ["joy", "joyful"], [1, 0]),  # it stopped there
    ],
)
def test_token_probabilities(positions: list[dict[str, float]], names: list[str], expected: list[float]) -> None:
    found = probabilities_of(choice(*positions), names)
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    "answer",
    [
        choice({"positive": 0.5, "ne": 0.5}, {".": 1.0}),  # half of it may be negative or neutral, and was not written
        choice({"n": 0.9, "positive": 0.1}, {"ay": 1.0}),  # too short to tell, and then it is neither
        choice({"The": 0.9, "positive": 0.1}),  # a sentence
        choice({"ne": 1.0}, finish="length"),  # cut off
        choice({"neutral or positive": 0.6, "negative": 0.3}, finish="stop") | {"logprobs": None},
        {"logprobs": {"content": [{"token": "positive"}]}},
        {"logprobs": "none"},
        {},
    ],
)
def test_tokens_that_do_not_decide(answer: dict[str, Any]) -> None:
    assert probabilities_of(answer, MOOD) is None


def test_a_token_that_several_labels_share_must_not_count_for_the_first() -> None:
    answer = choice({"positive": 0.97, "ne": 0.015, "The": 0.015})
    found = probabilities_of(answer, MOOD)
    assert found is not None
    np.testing.assert_allclose(found, [1, 0, 0], atol=1e-9)


def test_whether_a_server_gives_token_probabilities() -> None:
    assert has_token_probabilities(choice({"a": 1.0}))
    assert not has_token_probabilities({"logprobs": None})
    assert not has_token_probabilities({})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("spam", 0),
        (" Spam.\n", 0),
        ('"not spam"', 1),
        ("**NOT SPAM**, since it asks for nothing", 1),
        ("The label is: spam", 0),
        ("I would say it is not spam.", 1),
        ("It is spam or not spam.", None),
        ("spammy", None),
        ("no idea", None),
        ("", None),
    ],
)
def test_the_label_that_an_answer_names(answer: str, expected: int | None) -> None:
    assert label_named(answer, ["spam", "not spam"]) == expected
