"""Tiny encoders of the architectures that people bring, with a tokenizer of the matching kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerFast

import tiny
import tweets

_SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 40,
}  # fmt: skip
_UNUSED = ("unused", "zebra", "xylophone", "quartz")
# DeBERTa's published configs: no table of positions, relative ones, in v3 by buckets
_DEBERTA: dict[str, Any] = _SMALL | {
    "relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0,
}  # fmt: skip
_ROBERTA: dict[str, Any] = _SMALL | {"type_vocab_size": 1}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": _SMALL,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "bertweet": _ROBERTA,
    "electra": _SMALL | {"embedding_size": 16},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 40},
    "mpnet": _SMALL,
    "albert": _SMALL | {"embedding_size": 16},
    "deberta": _DEBERTA,
    "deberta-v2": _DEBERTA | {"position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True},
    "modernbert": _SMALL | {"num_hidden_layers": 4, "local_attention": 8},  # a window shorter than the texts
}
KINDS = {
    "roberta": "bpe", "deberta": "bpe", "modernbert": "bpe", "xlm-roberta": "unigram", "albert": "unigram",
    "deberta-v2": "unigram", "bertweet": "bertweet",
}  # fmt: skip
"""The kind of tokenizer, where it is not WordPiece."""

# special tokens in the order of their ids: where padding is not 0, positions do not start at 1
_BERT_TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]"}
_ROBERTA_TOKENS = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>"}
_TOKENS = {
    "roberta": _ROBERTA_TOKENS, "xlm-roberta": _ROBERTA_TOKENS, "mpnet": _ROBERTA_TOKENS | {"unk": "[UNK]"},
}  # fmt: skip


def save_encoder(architecture: str, directory: Path, seed: int = 0, **changes: Any) -> Path:
    """Write a tiny pretrained model as a hub download would look; `changes` are of its config."""
    if architecture == "bertweet":
        vocabulary, pad = _save_bertweet(directory), 1
    else:
        tokens = _TOKENS.get(architecture, _BERT_TOKENS)
        tokenizer = make_tokenizer(KINDS.get(architecture, "wordpiece"), tokens)
        vocabulary, pad = tokenizer.get_vocab_size(), tokenizer.token_to_id(tokens["pad"])
        names = {f"{role}_token": token for role, token in tokens.items()}
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(directory)
    torch.manual_seed(seed)
    settings = CONFIGS[architecture] | {"vocab_size": vocabulary, "pad_token_id": pad} | changes
    config = AutoConfig.for_model("roberta" if architecture == "bertweet" else architecture, **settings)
    AutoModel.from_config(config).save_pretrained(directory)
    return directory


def make_tokenizer(kind: str, tokens: dict[str, str] = _BERT_TOKENS) -> Tokenizer:
    """A tokenizer of the given kind for the tiny corpus and words that it never uses; the same each time.

    Only the library's BPE trainer gives the same vocabulary from call to call, so the others are not learnt.
    """
    specials = list(tokens.values())
    if kind == "unigram":
        letters, starts, rests = _pieces("▁", "")
        scored = [(letter, -9.0) for letter in ["▁", *letters]] + [(piece, -6.0) for piece in starts + rests]
        unk_id = specials.index(tokens["unk"])
        tokenizer = Tokenizer(models.Unigram([(token, 0.0) for token in specials] + scored, unk_id=unk_id))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    elif kind == "bpe":
        tokenizer = Tokenizer(models.BPE(unk_token=tokens["unk"]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=specials, show_progress=False)
        texts = [text for text, _ in tiny.rows(200, seed=9)] + [" ".join(_UNUSED)] * 5
        tokenizer.train_from_iterator(texts, trainer)
    else:
        letters, starts, rests = _pieces("", "##")
        pieces = [*specials, *letters, *(f"##{letter}" for letter in letters), *starts, *rests]
        vocabulary = {token: index for index, token in enumerate(dict.fromkeys(pieces))}
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=tokens["unk"]))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(specials)
    around = [(token, tokenizer.token_to_id(token)) for token in (tokens["cls"], tokens["sep"])]
    single = f"{tokens['cls']} $A {tokens['sep']}"
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=around)
    return tokenizer


def _save_bertweet(directory: Path) -> int:
    """The two files of a BERTweet tokenizer that normalises tweets, and no tokenizer.json; returns its size."""
    tweets.write_files(directory, tweets.corpus(), 400)
    settings = {"tokenizer_class": "BertweetTokenizer", "normalization": True, "model_max_length": 38}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return len(AutoTokenizer.from_pretrained(directory))


def _pieces(start: str, inner: str) -> tuple[list[str], list[str], list[str]]:
    """The letters of all words, and the words whole or, where they are long, in two pieces."""
    words = [*tiny.words(), *_UNUSED]
    starts = [start + (word if len(word) < 7 else word[:4]) for word in words]
    rests = [inner + word[4:] for word in words if len(word) >= 7]
    return sorted(set("".join(words))), starts, rests
