"""What is stored of the test texts: their length, and how much of them a vocabulary lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from understudy import hashing
from understudy.artifact import Artifact
from understudy.data.storing import read_split
from understudy.data.task import Split
from understudy.data.text import TextConfig
from understudy.hashing import Hashing, Sizes
from understudy.tokenization import TextEncoder
from understudy.traits import traits, unknown_shares

TEXTS = ["a lovely film", "a wombat", "wombat wombat", "a a a a a a a a a wombat"]


def encoder(unknown: str | None, max_length: int = 16) -> TextEncoder:
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "lovely": 5, "film": 6}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown) if unknown else models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return TextEncoder(tokenizer, TextConfig((), max_length))


def split_of(texts: list[str]) -> Split:
    return Split("test", [f"test:{row}" for row in range(len(texts))], texts, np.zeros(len(texts), dtype=np.int64))


def test_the_share_is_of_the_tokens_that_the_model_reads() -> None:
    found = unknown_shares(encoder("[UNK]"), split_of(TEXTS))
    assert found is not None and found.tolist() == [0, 0.5, 1, 0.1]
    cut = unknown_shares(encoder("[UNK]", max_length=8), split_of(TEXTS))
    assert cut is not None and cut.tolist() == [0, 0.5, 1, 0]


def test_a_vocabulary_that_knows_everything_has_no_share() -> None:
    assert unknown_shares(encoder(None), split_of(TEXTS)) is None
    letters = of_ngrams(Sizes(1, (3,)))  # reads parts of a word that it lacks
    assert unknown_shares(letters, split_of(TEXTS)) is None


@pytest.mark.parametrize(
    "fast", [pytest.param(True, marks=pytest.mark.skipif(not hashing.fast(), reason="no C")), False]
)
def test_a_student_of_ngrams_lacks_the_words_without_one(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the tokenizer of words finds; that "a film" is no known pair does not count."""
    monkeypatch.setattr(hashing, "fast", lambda: fast)
    texts = [*TEXTS, "A film!", ""]
    found = unknown_shares(of_ngrams(Sizes(2)), split_of(texts))
    assert found is not None and found.tolist() == [0, 0.5, 1, 0.1, 1 / 3, 0]
    cut = unknown_shares(of_ngrams(Sizes(2), max_length=9), split_of(texts))
    assert cut is not None and cut.tolist() == [0, 0.5, 1, 0, 1 / 3, 0]


def of_ngrams(sizes: Sizes, max_length: int = 16) -> TextEncoder:
    known = Hashing.of(sizes, hashing.all_hashes(sizes, ["a lovely film"], 100))
    return TextEncoder(known, TextConfig((), max_length))


def test_every_artifact_has_its_own_vocabulary(finished_run: Path) -> None:
    test = read_split(finished_run / "data" / "test.parquet", "test")
    strange = Split("test", test.ids, [f"ж {text}" for text in test.texts], test.labels)
    artifacts = {
        name: Artifact.load(finished_run / "students" / name, "model") for name in ("cnn/int8", "cnn/fp32", "half/int8")
    }
    found = traits(strange, artifacts)
    assert list(found["ids"]) == list(test.ids)
    assert found["words"].tolist() == [len(text.split()) + 1 for text in test.texts]
    assert {name for name in found if "/" in name} == {"unknown/cnn-int8", "unknown/cnn-fp32", "unknown/half-int8"}
    np.testing.assert_array_equal(found["unknown/cnn-int8"], found["unknown/cnn-fp32"])
    for key in ("cnn-int8", "half-int8"):
        assert ((found[f"unknown/{key}"] > 0) & (found[f"unknown/{key}"] <= 0.5)).all()
