"""Words and punctuation apart, as in the Penn Treebank and the data sets that come from it (SST-2): it 's , does n't .

Text of that form stays as it is, so that both kinds of text may stand in one training set.
"""

from __future__ import annotations

import re

from .sentences import MAYBE_LAST, NEVER_LAST

# A text without the first of a rule has nothing to change: most rules need not be tried on most texts. A pattern that
# begins with its mark, and looks back from there, is found several times faster than one that looks back first.
_RULES = [
    (mark, re.compile(pattern), replacement)
    for mark, pattern, replacement in [
        ("“", r"“", " `` "),
        ("„", r"„", " `` "),
        ("”", r"”", " '' "),
        ("’", r"’", "'"),
        ("‘", r"(?<!\w)‘(?=\w)", " ` "),
        ("‘", r"‘", "'"),
        ('"', r'"(?<![^\s(\[{]")(?=\S)', " `` "),  # a quotation opens before a word, and closes behind one
        ('"', r'"', " '' "),
        ("``", r"``", " `` "),
        ("''", r"''", " '' "),
        ("–", r"–", " -- "),
        ("—", r"—", " -- "),
        ("--", r"-{2,}", " -- "),
        ("…", r"…", " ... "),
        ("..", r"\.{2,}", " ... "),
        ("", r"[!?]+|[;()\[\]{}$%]", r" \g<0> "),
        (",", r",(?!(?<=\d,)\d)", " , "),  # 1,000 stays whole
        (":", r":(?!(?<=\d:)\d)", " : "),
        ("'", r"[nN]'[tT](?<=\w...)(?!\w)", r" \g<0>"),
        ("'", r"'(?<=[^\W\d_]')(?:[sdmSDM]|re|ve|ll|RE|VE|LL)(?!\w)", r" \g<0>"),
        ("'", r"'(?<!['\w]')(?!(?:[sdmn]|re|ve|ll|em|til|tis|twas|cause)(?!\w))(?=[^\d'\s])", " ` "),
        ("'", r"'(?<![\s']')(?<!'n')(?!['\w])", " ' "),
        ("annot", r"(?<!\w)([cC]an)(?=not(?!\w))", r"\g<1> "),
        ("nna", r"(?<!\w)[gGwW][oa]n(?=na(?!\w))", r"\g<0> "),
        ("otta", r"(?<!\w)[gG]ot(?=ta(?!\w))", r"\g<0> "),
    ]
]
_ABBREVIATIONS = NEVER_LAST | MAYBE_LAST
_STOP = re.compile(r"\.(?!\s*,)(?=(?:\s*(?:''|['`)\]]))*(?:\s|$))")


def treebank(text: str) -> str:
    """The text with spaces around punctuation, quotation marks as `` and '', and clitics apart from their words."""
    for mark, pattern, replacement in _RULES:
        if mark in text:
            text = pattern.sub(replacement, text)
    return " ".join(_STOP.sub(_full_stop, text).split())


def _full_stop(found: re.Match[str]) -> str:
    """A full stop apart from its word, unless it belongs to it: mr. , u.s. , j. , no. 9."""
    place, text = found.start(), found.string
    word = text[max(0, place - 20) : place].rpartition(" ")[2].lstrip("([{")
    ours = "." in word or (len(word) < 2 and not word.isdigit()) or word.lower() in _ABBREVIATIONS
    ours |= word.lower() == "no" and text[place + 1 : place + 3].strip().isdigit()
    return "." if ours else " ."
