"""BERTweet's tokenizer in small: its two files, learnt on invented tweets, and more tweets to read with it."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

import tiny

PIECES = (
    "good morning", "cannot", "I can't", "don't", "won't!!", "he'll", "we've", "it's", "I'm", "they're", "she'd",
    "ain't", "could n't", "@ann_b", "@Bob", "@", "@42!", "https://t.co/AbC?x=1", "http://a.bc/d(e)f.",
    "www.Site.org/x", "see example.com/page", "mail me@here.org", "#MondayMood", "#a", "##", ":-)", ":D", "<3",
    "<b>", "->", "😂", "😂😂😂", "❤️", "👍🏽", "👩‍👩‍👧", "日本", "日本語 です",
    "café", "naïve", "Ünlü", "e\u0301te\u0301", "नमस्ते", "Привет", "&amp;", "&lt;3",
    "&quot;so&quot;", "1/2", "½", "10,000", "3.14", "+1 (800) 555-1234", "5 p.m.", "at 7 a.m. sharp", "…", "...",
    ". . .", "!!!!!!", "?!?!?!", "--", "’", "it’s", "“quoted”", "U.S.A.", "x_y", "rock'n'roll", "co-op",
    "\n", "\t", "  ", "\u00a0", "A", "b", "RT", "%", "$5", "100%", "(", ")", "[link]", "~", "`", "^^", "\\o/",
    "a@@", "@@",
)  # fmt: skip


def tweets(count: int, seed: int) -> list[str]:
    """Texts with users, links, emoji, accents, other scripts, marks and white space of all kinds."""
    rng = random.Random(seed)
    return [
        "".join(rng.choice(PIECES) + rng.choice((" ", " ", " ", "")) for _ in range(rng.randint(0, 14)))
        for _ in range(count)
    ]


def learn_codes(texts: Sequence[str], size: int) -> list[tuple[str, str]]:
    """Merges of a BPE whose words end in </w>."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=size, end_of_word_suffix="</w>", show_progress=False)
    learner.train_from_iterator(sorted(texts), trainer)
    return [(one, other) for one, other in json.loads(learner.to_str())["model"]["merges"]]


def write_files(directory: Path, texts: Sequence[str], size: int, *, rare: int = 0) -> Path:
    """`bpe.codes` and `vocab.txt`, which lacks some symbols that merges pass through, as the published one does.

    Of the pieces that occur fewer than `rare` times none gets into the vocabulary.
    """
    directory.mkdir(exist_ok=True, parents=True)
    merges = learn_codes(texts, size)
    codes = "".join(f"{one} {other} {9000 - rank}\n" for rank, (one, other) in enumerate(merges))
    (directory / "bpe.codes").write_text(codes, encoding="utf-8")
    (directory / "vocab.txt").write_text("", encoding="utf-8")
    from transformers import BertweetTokenizer

    slow = BertweetTokenizer(str(directory / "vocab.txt"), str(directory / "bpe.codes"))
    counts: dict[str, int] = {}
    for text in texts:
        for piece in slow.tokenize(text):
            counts[piece] = counts.get(piece, 0) + 1
    pieces = [piece for piece, count in sorted(counts.items()) if count >= rare and not piece.isspace()]
    (directory / "vocab.txt").write_text("".join(f"{piece} {counts[piece]}\n" for piece in pieces), encoding="utf-8")
    return directory


def corpus() -> list[str]:
    """The tiny world's sentences, tweets, and what users and links become."""
    normalised = ["@USER says HTTPURL"] * 20
    return [text for text, _ in tiny.rows(200, seed=9)] + tweets(300, seed=1) + normalised
