"""What a language model's answer says: probabilities of the labels from those of its tokens, or the label it names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_QUOTES = " \t\r\n\"'`*([{<“”‘’«»"
_BEGINNING = 3  # letters of a label that tell it from words that are none: "ne" may begin "negative" or "neutral"
_NAMED = 0.5  # least probability that must lie on labels
_UNCLEAR = 0.02  # most probability that may lie on tokens that begin several labels


def probabilities_of(choice: Mapping[str, Any], names: Sequence[str]) -> Floats | None:
    """Probabilities of the labels, or None where the tokens do not decide.

    An alternative of the first token counts for the one label that it begins. One that begins several labels, or too
    short a part of one, is followed into the next token's alternatives if it is what the model wrote; otherwise its
    probability is unclear. What is on no label is left out, and what the alternatives lack to 1 is spread evenly over
    the labels that are not among them.
    """
    positions = _positions(choice)
    if not positions:
        return None
    folded = [name.casefold() for name in names]
    masses, unclear, total = np.zeros(len(names)), 0.0, 0.0
    prefix, mass = "", 1.0
    for number, (written, alternatives) in enumerate(positions):
        followed = 0.0
        total += mass * (sum(alternatives.values()) if not number else 0.0)
        for token, share in alternatives.items():
            start = _folded(prefix + token)
            fits = [index for index, name in enumerate(folded) if _fits(start, name)]
            sure = len(fits) == 1 and (len(start) >= min(_BEGINNING, len(folded[fits[0]])))
            if sure:
                masses[fits[0]] += mass * share
            elif fits and token == written:
                followed = share
            elif fits:
                unclear += mass * share
        if not followed:
            break
        prefix, mass = prefix + written, mass * followed
    else:  # the answer ended on a label that begins another one
        start = _folded(prefix)
        if choice.get("finish_reason") == "stop" and start in folded:
            masses[folded.index(start)] += mass
        else:
            unclear += mass
    if masses.sum() < _NAMED or unclear > _UNCLEAR:
        return None
    absent = masses == 0
    masses[absent] = max(0.0, 1.0 - total) / max(1, absent.sum())
    return np.asarray(masses / masses.sum())


def label_named(answer: str, names: Sequence[str]) -> int | None:
    """The index of the label that an answer names: it is the label, begins with it, or holds it and no other one."""
    said = _folded(answer)
    folded = {name.casefold(): index for index, name in enumerate(names)}
    longest = sorted(folded, key=len, reverse=True)
    for name in longest:
        if said == name or (said.startswith(name) and not said[len(name)].isalnum()):
            return folded[name]
    found = set()
    for name in longest:  # "not spam" is found before the "spam" in it, and taken out
        said, count = re.subn(rf"(?<!\w){re.escape(name)}(?!\w)", " ", said)
        if count:
            found.add(folded[name])
    return found.pop() if len(found) == 1 else None


def has_token_probabilities(choice: Mapping[str, Any]) -> bool:
    """Whether the server gave any."""
    return bool(_positions(choice))


def _positions(choice: Mapping[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """The token that was written at each position, and the probabilities of its alternatives, itself among them."""
    positions = []
    try:
        for part in (choice.get("logprobs") or {}).get("content") or []:
            written = str(part["token"])
            alternatives = {str(other["token"]): math.exp(other["logprob"]) for other in part.get("top_logprobs") or []}
            alternatives.setdefault(written, math.exp(part["logprob"]))
            positions.append((written, alternatives))
    except (KeyError, TypeError, AttributeError, OverflowError):
        return []
    return positions


def _folded(text: str) -> str:
    return text.lstrip(_QUOTES).casefold()


def _fits(start: str, name: str) -> bool:
    """Whether a beginning of an answer may become this label, or is it with something behind it."""
    return name.startswith(start) or (start.startswith(name) and not start[len(name)].isalnum())
