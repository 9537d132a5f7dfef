"""BERTweet's tokenizer: transformers has it in Python, artifacts as a tokenizer.json that gives the same ids."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertweetTokenizer

import tiny
import tweets
from architectures import save_encoder
from understudy.artifact import TextConfig
from understudy.errors import InputError
from understudy.tokenization import TextEncoder
from understudy.training import bertweet, networks
from understudy.training.bertweet import Converted
from understudy.training.loop import infer

# no ";", which ends an HTML entity, and no dotted İ, which the two libraries fold apart
MARKS = st.text(st.sampled_from("ab1.:/()@#'\"&-_+ !?,<>\n\t\x1c\u00a0…’=8DPo*\\|wht%[]{}~`^$é½²日😂\ufe0f\u200dpmnst"))
ANY = st.text(st.characters(exclude_categories=["Cs", "Cn", "Co"], exclude_characters="\0;İ", max_codepoint=0x2FFF))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files whose merges pass through symbols that the vocabulary lacks."""
    return tweets.write_files(tmp_path_factory.mktemp("bertweet"), tweets.corpus(), 600, rare=2)


@pytest.fixture(scope="module", params=[False, True], ids=["as it is", "normalised"])
def pair(request: pytest.FixtureRequest, files: Path) -> tuple[Any, Converted]:
    slow = read(files, request.param)
    return slow, bertweet.convert(slow)


def read(files: Path, normalization: bool) -> Any:
    return BertweetTokenizer(str(files / "vocab.txt"), str(files / "bpe.codes"), normalization=normalization)


def ids(converted: Converted, text: str) -> list[int]:
    """What a text means to the embeddings: a symbol without an id of its own has those of another."""
    rows = [*range(converted.vocabulary), *converted.repeated]
    return [rows[index] for index in converted.tokenizer.encode(text).ids]


def test_tweets_have_the_same_ids(pair: tuple[Any, Converted]) -> None:
    slow, converted = pair
    texts = [
        *tweets.tweets(400, seed=5),
        *(text for text, _ in tiny.rows(50, seed=3)),
        "",
        " ",
        "<mask> a<s>b",
        "x" * 99,
    ]
    assert [ids(converted, text) for text in texts] == [slow(text)["input_ids"] for text in texts]
    found = [index for text in texts for index in converted.tokenizer.encode(text).ids]
    assert max(found) >= converted.vocabulary  # a symbol that the vocabulary lacks was met
    assert slow.unk_token_id in {converted.repeated[n - converted.vocabulary] for n in found if n >= len(slow)}
    assert not slow.normalization or {slow.encoder["@USER"], slow.encoder["HTTPURL"]} < set(found)


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(MARKS, ANY, st.lists(st.sampled_from(tweets.PIECES)).map("".join)))
def test_any_text_has_the_same_ids(pair: tuple[Any, Converted], text: str) -> None:
    slow, converted = pair
    assert ids(converted, text) == slow(text)["input_ids"]


def test_what_normalisation_does(files: Path) -> None:
    slow = read(files, True)
    normalizer: Any = bertweet.convert(slow).tokenizer.normalizer
    for text, expected in {
        "@ann I can't…see www.a.org &amp; HTTP://b.c, ok?": "@USER I can't ... see HTTPURL & HTTPURL , ok ?",
        "don't they're ½ !!!!!! 5 p.m. now": "do n't they 're ½ ! ! ! 5 p.m. now",
        "cannot say cannot": "can not say cannot",
    }.items():
        assert " ".join(normalizer.normalize_str(text).split()) == slow.normalizeTweet(text) == expected, text


@pytest.mark.parametrize(
    "text", ["http://" + ".," * 500, "http://" + "(a" * 700, "a." * 500, "a.b-" * 250 + "@", "ß" * 999]
)
def test_no_text_stalls_the_normaliser(files: Path, text: str) -> None:
    tokenizer = bertweet.convert(read(files, True)).tokenizer
    started = time.perf_counter()
    tokenizer.encode(text)
    assert time.perf_counter() - started < 2


def test_emoji_have_names_where_the_package_is_there(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert any("pip install emoji" in warning for warning in bertweet.convert(read(files, True)).warnings)
    assert bertweet.convert(read(files, False)).warnings == []
    names = {"😂": ":joy:", "👍": ":thumbs_up:", "\ufe0f": "", "日": "日"}
    monkeypatch.setitem(sys.modules, "emoji", SimpleNamespace(demojize=lambda text: names.get(text, text)))
    home = shutil.copytree(files, files / "named")
    with (home / "bpe.codes").open("a", encoding="utf-8") as codes:
        codes.writelines(
            f"{one} {other} 1\n" for one, other in ((":", "j"), (":j", "o"), (":jo", "y"), (":joy", ":</w>"))
        )
    with (home / "vocab.txt").open("a", encoding="utf-8") as vocabulary:
        vocabulary.write(":joy: 1\n")
    slow = read(home, True)
    converted = bertweet.convert(slow)
    for text in ("so 😂😂 good", "❤️ ☀️n't 😂️", "a #😂"):
        assert ids(converted, text) == slow(text)["input_ids"], text
    assert slow.encoder[":joy:"] in ids(converted, "ok😂")
    assert ids(converted, "👍") == [0, slow.unk_token_id, 2]  # a name of several tokens
    assert not any("pip install emoji" in warning for warning in converted.warnings)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder("bertweet", tmp_path_factory.mktemp("encoder"))


def test_a_model_reads_as_it_did_in_transformers(encoder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = AutoModelForSequenceClassification.from_pretrained(encoder, id2label={0: "bad", 1: "good"}).eval()
    theirs.save_pretrained(tmp_path / "ready")
    for name in ("vocab.txt", "bpe.codes", "tokenizer_config.json"):
        shutil.copyfile(encoder / name, tmp_path / "ready" / name)
    slow = AutoTokenizer.from_pretrained(encoder)
    assert type(slow) is BertweetTokenizer and slow.normalization
    network, labels = networks.load_classifier(str(tmp_path / "ready"))
    network.module.eval()
    assert labels == ["bad", "good"]
    assert (network.pad_id, network.longest) == (1, 38)  # of 40 positions, padding has the second
    assert network.warnings
    for text in tweets.tweets(20, seed=6):
        batch = slow(text, truncation=True, max_length=38, return_tensors="pt")
        with torch.no_grad():
            expected = theirs(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.numpy()
        tokens = TextEncoder(network.tokenizer, TextConfig((), 38)).encode([text])
        np.testing.assert_allclose(infer(network.module, tokens, 1, torch.device("cpu")), expected, atol=1e-5)


def test_the_published_config_names_the_python_class(encoder: Path, tmp_path: Path) -> None:
    published = shutil.copytree(encoder, tmp_path / "published")
    config = json.loads((published / "config.json").read_text(encoding="utf-8"))
    (published / "config.json").write_text(json.dumps(config | {"tokenizer_class": "BertweetTokenizer"}))
    (published / "tokenizer_config.json").write_text(json.dumps({"normalization": True}))
    network = networks.load_pretrained(str(published), tiny.LABELS, 0.0, 0)
    (tmp_path / "saved").mkdir()
    networks.save(network, tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    text = "@ann good morning 😂 https://t.co/x"
    assert again(text)["input_ids"] == network.tokenizer.encode(text).ids
    assert again.encode("@ann") == again.encode("@bob") != again.encode("ann")


def test_merges_that_transformers_cannot_read_are_refused(encoder: Path, tmp_path: Path) -> None:
    saved = shutil.copytree(encoder, tmp_path / "saved")
    AutoTokenizer.from_pretrained(encoder).save_pretrained(saved)
    assert (saved / "bpe.codes").read_text(encoding="utf-8").splitlines()[0].count(" ") == 1
    with pytest.raises(InputError) as error:
        networks.load_pretrained(str(saved), tiny.LABELS, 0.0, 0)
    assert str(error.value) == (
        f"bpe.codes of '{saved}' has no merges that transformers can read: each line is two symbols and a count "
        "(`save_pretrained` drops the counts); copy the published file"
    )
