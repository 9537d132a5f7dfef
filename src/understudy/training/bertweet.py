"""BERTweet's tokenizer as a tokenizer.json: transformers has it in Python only.

Its vocabulary marks pieces that go on (`ab@@`), its merges the ends of words (`ab</w>`). A symbol that merges can make
and that the vocabulary lacks means <unk>, but the library needs an id for each: such a symbol gets an id after the
vocabulary, and the embedding of <unk> again. So do emoji, which the Python class puts in words (😂 is
`:face_with_tears_of_joy:`).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

_END, _GOES_ON = "</w>", "@@"
_WHITE = r"\s\x1c-\x1f"  # what Python takes for white space

# Python's \w in the terms of the tokenizers library, whose own takes ½ and ² for letters and no joiners
_LETTER = r"\p{Alphabetic}\p{M}\x{200C}\x{200D}"
_WORD = rf"{_LETTER}\p{{Nd}}\p{{Pc}}"
# a repeated group of runs takes exponential time on what it does not match; one of characters finds the same
_RUN = r"[^\s()<>{}\[\]]+"

_VARIATION = "\ufe0f"  # asks for the coloured form of the emoji before it
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&amp;": "&"}
_CONTRACTIONS = {
    "cannot ": "can not ", "n't ": " n't ", "n 't ": " n't ", "ca n't": "can't", "ai n't": "ain't",
    **{f"'{end} ": f" '{end} " for end in ("m", "re", "s", "ll", "d", "ve")},
    " p . m .": "  p.m.", " p . m ": " p.m ", " a . m .": " a.m.", " a . m ": " a.m ",
}  # fmt: skip
_NO_EMOJI = (
    "BERTweet knows emoji by their names, and here they are <unk>: if the texts have emoji, `pip install emoji==0.6.0` "
    "and train again"
)
_FEW_ENTITIES = (
    "BERTweet's tokenizer reads the HTML entities &amp; &lt; &gt; &quot; and &#39; here: if the texts have others, set "
    'normalize = ["html"] in [data]'
)


@dataclass(frozen=True)
class Converted:
    """A tokenizer; `repeated` are the ids whose embeddings its ids after the vocabulary have."""

    tokenizer: Tokenizer
    vocabulary: int
    repeated: list[int]
    warnings: list[str]


def convert(slow: Any) -> Converted:
    """The same ids as transformers' BertweetTokenizer, with its `normalization` or without.

    What differs: Python reads all HTML entities and drops unknown ones, this &amp; &lt; &gt; &quot; and &#39;; an emoji
    whose name is several tokens is <unk>; the libraries know characters of different Unicode versions. Emoji have
    names if the package `emoji` is there, as in transformers.
    """
    names = _names_of_emoji(slow) if slow.normalization and slow.demojizer is not None else {}
    meaning = _meaning(slow) | {f"{emoji}{_END}": index for emoji, index in names.items()}
    size = len(slow)
    ids: dict[str, int] = {}
    repeated: list[int] = []
    taken: set[int] = set()
    for symbol, index in meaning.items():
        if index in taken:
            ids[symbol] = size + len(repeated)
            repeated.append(index)
        else:
            ids[symbol] = index
            taken.add(index)
    ids |= {f"<unused {index}>": index for index in set(range(size)) - taken}  # the library takes no holes
    merges = sorted((pair for pair in slow.bpe_ranks if len(pair) == 2), key=slow.bpe_ranks.get)
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token=str(slow.unk_token), end_of_word_suffix=_END))
    if slow.normalization:
        tokenizer.normalizer = _tweet_normalizer(slow)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(rf"[^{_WHITE}]+\n?"), "removed", invert=True)
    tokenizer.add_special_tokens(_specials(slow))
    cls, sep = str(slow.cls_token), str(slow.sep_token)
    around = [(cls, slow.cls_token_id), (sep, slow.sep_token_id)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{cls} $A {sep}", special_tokens=around)
    warnings = [*([_NO_EMOJI] if slow.demojizer is None else []), _FEW_ENTITIES] if slow.normalization else []
    return Converted(tokenizer, size, repeated, warnings)


def _specials(slow: Any) -> list[str]:
    return [str(token) for _, token in sorted(slow.added_tokens_decoder.items())]


def _meaning(slow: Any) -> dict[str, int]:
    """The id that transformers gives to each symbol of the merges and of the vocabulary."""
    vocabulary: dict[str, int] = slow.get_vocab()
    meaning = {token: vocabulary[token] for token in _specials(slow)}
    for token, index in vocabulary.items():
        if token not in meaning:
            inner = token.endswith(_GOES_ON) and token != _GOES_ON
            meaning[token.removesuffix(_GOES_ON) if inner else token + _END] = index
    made = [symbol for pair in slow.bpe_ranks if len(pair) == 2 for symbol in (*pair, "".join(pair))]
    for symbol in dict.fromkeys(made):
        token = symbol.removesuffix(_END) if symbol.endswith(_END) else symbol + _GOES_ON
        meaning.setdefault(symbol, vocabulary.get(token, slow.unk_token_id))
    return meaning


def _names_of_emoji(slow: Any) -> dict[str, int]:
    """The characters that are emoji with a name of one token, and its id."""
    found: dict[str, int] = {}
    for character in map(chr, range(0xA0, 0x20000)):
        if unicodedata.category(character) in ("So", "Sk", "Sm", "Po", "Pd"):
            name = slow.demojizer(character)
            if name != character and name in slow.encoder and slow.bpe(name) == name:
                found[character] = slow.encoder[name]
    return found


def _tweet_normalizer(slow: Any) -> normalizers.Normalizer:
    """What `normalizeTweet` does: words apart, users and links by one name each, contractions cut."""
    from transformers.models.bertweet.tokenization_bertweet import REGEXPS

    word = "|".join(_translated(part) for part in REGEXPS)
    steps = [
        *_literally({"’": "'", "…": "..."} | _ENTITIES),
        normalizers.Replace(Regex(r"([^a-zA-Z0-9])(?=\1{3})"), ""),
        normalizers.Replace(Regex(rf"(?:{word})\K"), " "),  # \K: nothing is replaced, a space goes behind it
        normalizers.Replace(Regex(f"[{_WHITE}]+"), " "),
        normalizers.Strip(),
        normalizers.Replace(Regex(r"(?<!\S)@\S*"), "@USER"),
        normalizers.Replace(Regex(r"(?i)(?<!\S)(?:http|www)\S*"), "HTTPURL"),
        normalizers.Replace(Regex(r"(?<!\S)’(?!\S)"), "'"),
        normalizers.Replace(Regex(r"(?<!\S)…(?!\S)"), "..."),
        *([normalizers.Replace(Regex(rf"(?<!\S){_VARIATION}(?!\S)"), "")] if _drops_variations(slow) else []),
        *_literally(_CONTRACTIONS),
    ]
    return normalizers.Sequence(steps)


def _drops_variations(slow: Any) -> bool:
    return slow.demojizer is not None and slow.demojizer(_VARIATION) == ""


def _translated(part: str) -> str:
    """A pattern of the Python class in the terms of the tokenizers library: the same matches, in less time.

    A repeated class of letters that ignores case tries every ß as ss and every ﬁ as fi, at a hundred times the cost.
    """
    flags = "x" if r"\w" in part else "ix"
    part = part.replace(_RUN, _RUN.removesuffix("+")).replace(r"\b", r"(?![\w])")
    return f"(?{flags}:" + part.replace(r"[^\W\d_]", f"[{_LETTER}]").replace(r"\w", _WORD) + "\n)"


def _literally(changes: dict[str, str]) -> list[normalizers.Normalizer]:
    return [normalizers.Replace(old, new) for old, new in changes.items()]
