"""Vocabularies: trimmed without changing a used text, learnt from texts, started from a teacher's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, processors

import tiny
from architectures import make_tokenizer, save_encoder
from understudy.artifact import TextConfig
from understudy.tokenization import TextEncoder, Tokens
from understudy.training import networks, vocabulary
from understudy.training.loop import infer
from understudy.training.networks import HubClassifier, Network

USED = [text for text, _ in tiny.rows(60, seed=4)]
UNSEEN = ["zebra quartz", "unused xylophone!", "café ☃ 漢字", "", "qqq"]
TEXT = TextConfig((), 64)


def tokenizer_of(kind: str) -> Tokenizer:
    """A tokenizer whose used tokens are few of its tokens."""
    return make_tokenizer(kind)


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[Tokens]:
    return TextEncoder(tokenizer, TEXT).encode(texts)


def strings(tokenizer: Tokenizer, texts: list[str]) -> list[list[str | None]]:
    return [[tokenizer.id_to_token(int(token)) for token in row] for row in encode(tokenizer, texts)]


def trimmed(tokenizer: Tokenizer, texts: list[str] = USED) -> tuple[Tokenizer, list[int]]:
    result = vocabulary.trim(tokenizer, encode(tokenizer, texts))
    assert result is not None
    return result


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "bpe"])
def test_the_tokenizers_of_these_tests_are_the_same_each_time(kind: str) -> None:
    assert tokenizer_of(kind).to_str() == tokenizer_of(kind).to_str()


@pytest.mark.parametrize("texts", [USED, USED[:3]])
@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_trimming_keeps_every_token_of_every_used_text(kind: str, texts: list[str]) -> None:
    tokenizer = tokenizer_of(kind)
    small, kept = trimmed(tokenizer, texts)
    assert strings(small, texts) == strings(tokenizer, texts)
    assert small.get_vocab_size() == len(kept) < tokenizer.get_vocab_size()
    for new, old in enumerate(kept):
        assert small.id_to_token(new) == tokenizer.id_to_token(old)
    for before, after in zip(encode(tokenizer, texts), encode(small, texts), strict=True):
        np.testing.assert_array_equal(np.array(kept)[after], before)


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_special_tokens_and_characters_stay_so_that_unseen_words_have_pieces(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    small, _ = trimmed(tokenizer, USED[:3])
    prefix = "##" if kind == "wordpiece" else "▁"
    characters = {t for t in tokenizer.get_vocab() if len(t.removeprefix(prefix)) <= 1 and t.isascii()}
    assert {"[PAD]", "[UNK]", "[CLS]", "[SEP]"} | characters <= set(small.get_vocab())
    rows = encode(small, UNSEEN)
    assert all(row.max() < small.get_vocab_size() for row in rows)
    assert "[UNK]" not in strings(small, ["zebra"])[0]
    assert [small.id_to_token(int(i)) for i in rows[0][[0, -1]]] == ["[CLS]", "[SEP]"]


def test_a_trimmed_unigram_survives_the_disk(tmp_path: Path) -> None:
    small, _ = trimmed(tokenizer_of("unigram"))
    small.save(str(tmp_path / "tokenizer.json"))
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert strings(again, USED + UNSEEN) == strings(small, USED + UNSEEN)


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_tokens_added_behind_the_vocabulary_stay(kind: str) -> None:
    tokenizer = tokenizer_of(kind)  # as DeBERTa's [MASK]
    tokenizer.add_special_tokens([AddedToken("[MASK]", special=True), AddedToken("[USER]", special=True)])
    texts = [*USED[:5], "the [MASK] film [USER]"]
    small, kept = trimmed(tokenizer, texts)
    assert strings(small, texts) == strings(tokenizer, texts)
    assert [tokenizer.id_to_token(old) for old in kept[-2:]] == ["[MASK]", "[USER]"]
    assert [small.token_to_id(token) for token in ("[MASK]", "[USER]")] == [len(kept) - 2, len(kept) - 1]


def test_a_vocabulary_with_gaps_keeps_its_ids_in_step_with_the_embeddings() -> None:
    raw = json.loads(tokenizer_of("wordpiece").to_str())
    raw["model"]["vocab"] = {token: n if n < 40 else n + 7 for token, n in raw["model"]["vocab"].items()}
    tokenizer = Tokenizer.from_str(json.dumps(raw))
    small, kept = trimmed(tokenizer)
    assert [small.id_to_token(new) for new in range(len(kept))] == [tokenizer.id_to_token(old) for old in kept]


@pytest.mark.parametrize("processor", [processors.BertProcessing, processors.RobertaProcessing])
def test_every_kind_of_post_processor_is_renumbered(processor: Any) -> None:
    raw = json.loads(tokenizer_of("wordpiece").to_str())
    vocab = {token: n for n, token in enumerate(reversed(raw["model"]["vocab"]))}  # special tokens come last
    raw["model"]["vocab"] = vocab
    raw["added_tokens"] = [token | {"id": vocab[token["content"]]} for token in raw["added_tokens"]]
    raw["post_processor"] = None
    tokenizer = Tokenizer.from_str(json.dumps(raw))
    tokenizer.post_processor = processor(*[(token, tokenizer.token_to_id(token)) for token in ("[SEP]", "[CLS]")])
    small, _ = trimmed(tokenizer, USED[:3])
    assert strings(small, USED[:3]) == strings(tokenizer, USED[:3])
    assert strings(small, ["film"])[0] == ["[CLS]", "film", "[SEP]"] or len(strings(small, ["film"])[0]) > 2


def test_bpe_is_left_alone() -> None:
    tokenizer = tokenizer_of("bpe")
    assert vocabulary.trim(tokenizer, encode(tokenizer, USED)) is None


@pytest.mark.parametrize("name", ["bert", "electra", "distilbert", "mpnet", "xlm-roberta", "albert", "deberta-v2"])
def test_a_network_with_a_trimmed_vocabulary_answers_the_same(tmp_path: Path, name: str) -> None:
    network = networks.load_pretrained(str(save_encoder(name, tmp_path)), tiny.LABELS, 0.0, 0)
    tokens = encode(network.tokenizer, [text[:60] for text in USED])
    tokens = [row[:30] for row in tokens]
    expected = infer(network.module, tokens, network.pad_id, torch.device("cpu"))
    result = vocabulary.trim(network.tokenizer, tokens)
    assert result is not None and isinstance(network.module, HubClassifier)
    tokenizer, kept = result
    networks.replace_embeddings(network.module, kept, kept.index(network.pad_id))
    small = Network(network.module, tokenizer, kept.index(network.pad_id), "transformer")
    renumbered = [np.array([kept.index(token) for token in row]) for row in tokens]
    np.testing.assert_array_equal(infer(small.module, renumbered, small.pad_id, torch.device("cpu")), expected)
    model: Any = small.module.model
    assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == len(kept)
    assert model.config.pad_token_id == small.pad_id


def test_words_are_the_frequent_ones_in_order() -> None:
    texts = ["Film film, film!", "good good plot", "Bad plot", "once"]
    words = vocabulary.learn_words(texts, 100, 2)
    assert words.get_vocab() == {"[PAD]": 0, "[UNK]": 1, "film": 2, "good": 3, "plot": 4}
    assert vocabulary.learn_words(texts, 4, 1).get_vocab() == {"[PAD]": 0, "[UNK]": 1, "film": 2, "good": 3}
    assert {"!", ",", "once", "bad"} < set(vocabulary.learn_words(texts, 100, 1).get_vocab())
    assert words.encode("A GOOD film once").ids == [1, 3, 2, 1]


def test_vowel_signs_and_accents_stay_and_case_folds() -> None:
    texts = ["হিন্দু বন্ধু दुकान हिन्दी Café cafe CAFÉ"] * 3  # ু, ্ and ु are marks that stripping accents would drop
    expected = {"হিন্দু", "বন্ধু", "दुकान", "हिन्दी", "café", "cafe"}
    assert set(vocabulary.learn_words(texts, 100, 1).get_vocab()) == {"[PAD]", "[UNK]"} | expected
    pieces = vocabulary.learn_wordpiece(texts, 200)
    assert expected < set(pieces.get_vocab())
    found = strings(pieces, ["হিন্দু दुकान CAFÉ cafe"])[0]
    assert found == ["[CLS]", "হিন্দু", "दुकान", "café", "cafe", "[SEP]"]


def test_learnt_wordpieces_stand_between_cls_and_sep() -> None:
    tokenizer = vocabulary.learn_wordpiece(USED, 120)
    assert tokenizer.get_vocab_size() <= 120
    assert tokenizer.token_to_id("[PAD]") == 0
    for row in strings(tokenizer, [USED[0], "FILM", ""]):
        assert (row[0], row[-1]) == ("[CLS]", "[SEP]")
    assert strings(tokenizer, ["FILM"]) == strings(tokenizer, ["film"])
    assert {token["content"] for token in json.loads(tokenizer.to_str())["added_tokens"]} == set(vocabulary._SPECIALS)


def test_learnt_wordpieces_are_the_same_each_time() -> None:
    random = np.random.default_rng(0)  # 300 rare characters with many ties
    noisy = ["".join(map(chr, random.integers(0x1100, 0x1100 + 300, 6))) for _ in range(60)]
    once, again = (vocabulary.learn_wordpiece([*USED, *noisy], 600) for _ in range(2))
    assert once.to_str() == again.to_str()
    assert "film" in once.get_vocab()


@pytest.mark.parametrize("width", [3, 8, 30, 60])
@pytest.mark.parametrize("dimensions", [8, 50])
def test_embeddings_from_a_teacher_have_the_students_width(width: int, dimensions: int) -> None:
    words = vocabulary.learn_words(USED, 22, 1)  # 20 words: fewer than the widest student or teacher has dimensions
    teacher = tokenizer_of("wordpiece")
    torch.manual_seed(0)
    table = torch.randn(teacher.get_vocab_size(), dimensions)
    start = vocabulary.embeddings_from_teacher(words, teacher, table, width)
    assert start.shape == (22, width)
    assert torch.isfinite(start).all()
    assert start[:2].abs().sum() == 0
    assert float(start[2:].std()) == pytest.approx(0.1, rel=1e-5)


def test_embeddings_from_a_teacher_keep_which_words_are_near() -> None:
    words, teacher = vocabulary.learn_words(USED, 22, 1), tokenizer_of("wordpiece")
    torch.manual_seed(0)
    table = torch.randn(teacher.get_vocab_size(), 30)
    start = vocabulary.embeddings_from_teacher(words, teacher, table, 24)  # the 20 words span at most 19 dimensions
    means = torch.stack(
        [table[teacher.encode(words.id_to_token(n), add_special_tokens=False).ids].mean(0) for n in range(2, 22)]
    )
    ratio = torch.pdist(start[2:]) / torch.pdist(means)
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-4, atol=0)


def test_embeddings_of_one_word_are_finite() -> None:
    words = vocabulary.learn_words(["film film"], 10, 1)
    start = vocabulary.embeddings_from_teacher(words, tokenizer_of("wordpiece"), torch.randn(200, 8), 4)
    assert torch.isfinite(start).all()
