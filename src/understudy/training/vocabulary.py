"""Vocabularies: trimmed to the texts that a student learns on, or learnt from them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor

from ..data.text import TextConfig
from ..hashing import Hashing, Sizes, all_hashes
from ..tokenization import Tokens

_TRIMMABLE = ("WordPiece", "Unigram")
UNTRIMMED = "the vocabulary was not trimmed: only WordPiece and Unigram tokenizers can be"
_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_ALPHABET = 200  # all characters of noisy text would crowd out words


def trim(tokenizer: Tokenizer, used: Iterable[Tokens]) -> tuple[Tokenizer, list[int]] | None:
    """A tokenizer without the tokens that `used` never contains, and the kept old ids in their new order.

    Used texts keep their tokens: WordPiece takes the longest match and Unigram the best path, and dropping a token
    that was not chosen changes neither. Special tokens and single ASCII characters stay, so that unseen words still
    have pieces; of the thousands of other characters only those that were seen. None when the tokenizer is of
    another kind (BPE builds tokens by merges).
    """
    spec = json.loads(tokenizer.to_str())
    if spec["model"]["type"] not in _TRIMMABLE:
        return None
    pieces = _pieces(spec["model"])
    special = {int(token["id"]) for token in spec["added_tokens"]}
    seen = set(np.unique(np.concatenate(list(used))).tolist()) | special
    prefix = spec["model"].get("continuing_subword_prefix") or "▁"
    kept = [
        index
        for index, piece in sorted(pieces.items())
        if index in seen or _is_character(piece.removeprefix(prefix)) or piece == spec["model"].get("unk_token")
    ]
    inside = len(kept)
    kept += sorted(special - pieces.keys())  # added after the vocabulary, as DeBERTa's [MASK] is
    position = {old: new for new, old in enumerate(kept)}
    if spec["model"]["type"] == "Unigram":
        spec["model"]["vocab"] = [spec["model"]["vocab"][old] for old in kept[:inside]]
        spec["model"]["unk_id"] = position.get(spec["model"].get("unk_id"))
    else:
        spec["model"]["vocab"] = {pieces[old]: new for new, old in enumerate(kept[:inside])}
    for token in spec["added_tokens"]:
        token["id"] = position[int(token["id"])]
    _renumber(spec.get("post_processor"), position)
    spec["truncation"] = spec["padding"] = None
    return Tokenizer.from_str(json.dumps(spec)), kept


def most_frequent(used: Sequence[Tokens], size: int, min_count: int) -> Tokens:
    """At most `size` token ids, those that `used` contains most often and at least `min_count` times."""
    counts = np.bincount(np.concatenate(used))
    order = np.argsort(-counts, kind="stable")[:size]
    return order[counts[order] >= min_count]


def learn_wordpiece(texts: Iterable[str], size: int) -> Tokenizer:
    """A lower-casing WordPiece tokenizer learnt on the texts, with [CLS] and [SEP] around a text; the same each time.

    The library's trainer numbers the inner characters (##a) in an order that differs from call to call, and merges
    of equal frequency follow that order: the characters are therefore counted and numbered here.
    """
    shell = _shell(models.WordPiece(unk_token="[UNK]"))
    counts = _count_words(shell, texts)
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    alphabet = sorted(characters, key=lambda c: (-characters[c], c))[:_ALPHABET]
    inner = sorted({f"##{c}" for word in counts for c in word[1:]} & {f"##{c}" for c in alphabet})
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=[*_SPECIALS, *inner], initial_alphabet=alphabet,
        limit_alphabet=len(alphabet), show_progress=False, min_frequency=2,
    )  # fmt: skip
    shell.train_from_iterator((f"{word} " * count for word, count in sorted(counts.items())), trainer)
    tokenizer = _shell(models.WordPiece(shell.get_vocab(), unk_token="[UNK]"))  # without ##a as special tokens
    tokenizer.add_special_tokens(_SPECIALS)
    around = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    return tokenizer


def learn_words(texts: Iterable[str], size: int, min_count: int) -> Tokenizer:
    """A tokenizer of whole lower-case words and punctuation marks, the most frequent ones of the texts."""
    shell = _shell(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]"))
    counts = _count_words(shell, texts)
    frequent = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *frequent[: size - 2]])}
    shell.model = models.WordLevel(vocabulary, unk_token="[UNK]")
    return shell


def learn_ngrams(texts: Sequence[str], text: TextConfig, sizes: Sizes, size: int, min_count: int) -> Hashing:
    """A tokenizer of the most frequent n-grams of the texts, as far as they are read."""
    hashes, counts = np.unique(all_hashes(sizes, texts, text.max_length), return_counts=True)
    frequent = np.flatnonzero(counts >= min_count)
    kept = frequent[np.argsort(-counts[frequent], kind="stable")[:size]]
    return Hashing.of(sizes, hashes[kept])


def embeddings_from_teacher(words: Tokenizer, teacher: Tokenizer, table: Tensor, width: int) -> Tensor:
    """A start for word embeddings: the mean of the teacher's pieces of a word, `rotated` to `width` dimensions."""
    vocabulary = words.get_vocab()
    start = torch.zeros(len(vocabulary), table.shape[1])
    for word, index in vocabulary.items():
        pieces = teacher.encode(word, add_special_tokens=False).ids
        if index > 1 and pieces:
            start[index] = table[torch.tensor(pieces)].mean(dim=0)
    return torch.cat([torch.zeros(2, width), rotated(start[2:], width)])


def rotated(rows: Tensor, width: int) -> Tensor:
    """Embeddings (n, width) that keep the directions of largest variance of the rows (n, any width).

    SVD of the centred rows, whose first right vectors they are turned to; scaled to a standard deviation of 0.1.
    """
    rows = rows - rows.mean(dim=0)
    if width < rows.shape[1]:
        _, _, directions = torch.linalg.svd(rows, full_matrices=False)
        rows = rows @ directions[:width].T
    rows = torch.nn.functional.pad(rows, (0, width - rows.shape[1]))  # fewer rows or dimensions than width
    spread = rows.std()
    return rows * (0.1 / spread) if spread > 0 else rows


def _shell(model: models.Model) -> Tokenizer:
    """A tokenizer that lower-cases and cuts at spaces and punctuation marks."""
    shell = Tokenizer(model)
    # marks stay: stripping "accents" also takes vowel signs from Indic words, which makes others of them
    shell.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    shell.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return shell


def _count_words(shell: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    normalized = (shell.normalizer.normalize_str(text) for text in texts)
    return Counter(word for text in normalized for word, _ in shell.pre_tokenizer.pre_tokenize_str(text))


def _is_character(piece: str) -> bool:
    return len(piece) <= 1 and piece.isascii()


def _pieces(model: dict[str, object]) -> dict[int, str]:
    """The tokens by id; a vocabulary may leave ids out."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        return {index: piece for index, (piece, _) in enumerate(vocabulary)}
    assert isinstance(vocabulary, dict)
    return {index: piece for piece, index in vocabulary.items()}


def _renumber(node: object, position: dict[int, int]) -> None:
    """Replace token ids inside a post-processor, whatever its form."""
    if isinstance(node, list):
        for item in node:
            _renumber(item, position)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "ids" and isinstance(value, list):
                node[key] = [position[old] for old in value]
            elif key in ("sep", "cls") and isinstance(value, list) and re.fullmatch(r"\d+", str(value[-1])):
                value[-1] = position[value[-1]]
            else:
                _renumber(value, position)
