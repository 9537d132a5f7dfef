"""Tiny encoders of the architectures that people bring, with a tokenizer of the matching kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

import tiny

_SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 40,
}  # fmt: skip
_UNUSED = ("unused", "zebra", "xylophone", "quartz")
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": _SMALL,
    "roberta": _SMALL | {"type_vocab_size": 1},
    "xlm-roberta": _SMALL | {"type_vocab_size": 1},
    "electra": _SMALL | {"embedding_size": 16},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 40},
    "mpnet": _SMALL,
    "albert": _SMALL | {"embedding_size": 16},
    "deberta-v2": _SMALL | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0},
    "modernbert": _SMALL | {"num_hidden_layers": 4, "local_attention": 8},  # a window shorter than the texts
}


def save_encoder(architecture: str, directory: Path, seed: int = 0) -> Path:
    """Write a tiny pretrained model as a hub download would look."""
    kind = "unigram" if architecture in ("xlm-roberta", "albert", "deberta-v2") else "wordpiece"
    kind = "bpe" if architecture == "roberta" else kind
    tokenizer = make_tokenizer(kind)
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        architecture, **CONFIGS[architecture], vocab_size=tokenizer.get_vocab_size(),
        pad_token_id=tokenizer.token_to_id("[PAD]"),
    )  # fmt: skip
    AutoModel.from_config(config).save_pretrained(directory)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    wrapped.save_pretrained(directory)
    return directory


def make_tokenizer(kind: str) -> Tokenizer:
    """A tokenizer of the given kind for the tiny corpus and words that it never uses; the same each time.

    Only the library's BPE trainer gives the same vocabulary from call to call, so the others are not learnt.
    """
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    if kind == "unigram":
        letters, starts, rests = _pieces("▁", "")
        scored = [(letter, -9.0) for letter in ["▁", *letters]] + [(piece, -6.0) for piece in starts + rests]
        tokenizer = Tokenizer(models.Unigram([(token, 0.0) for token in specials] + scored, unk_id=1))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    elif kind == "bpe":
        tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=specials, show_progress=False)
        texts = [text for text, _ in tiny.rows(200, seed=9)] + [" ".join(_UNUSED)] * 5
        tokenizer.train_from_iterator(texts, trainer)
    else:
        letters, starts, rests = _pieces("", "##")
        tokens = [*specials, *letters, *(f"##{letter}" for letter in letters), *starts, *rests]
        vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(specials)
    around = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    return tokenizer


def _pieces(start: str, inner: str) -> tuple[list[str], list[str], list[str]]:
    """The letters of all words, and the words whole or, where they are long, in two pieces."""
    words = [*tiny.words(), *_UNUSED]
    starts = [start + (word if len(word) < 7 else word[:4]) for word in words]
    rests = [inner + word[4:] for word in words if len(word) >= 7]
    return sorted(set("".join(words))), starts, rests
