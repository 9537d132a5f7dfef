"""What test texts are like: how long they are, and how much of them each vocabulary lacks; stored by example id.

traits.npz: ids, words (separated by white space), and for every file of a model unknown/NAME-VARIANT, the share of a
text's tokens, or of its words where these are hashed, that its vocabulary does not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .artifact import Artifact
from .data.task import Split
from .hashing import Hashing
from .tokenization import TOKENIZER_FILES, TextEncoder

TRAITS = "traits.npz"
UNKNOWN = "unknown/"  # begins the names of the arrays that depend on a vocabulary

Shares = NDArray[np.float64]


def traits(split: Split, artifacts: Mapping[str, Artifact]) -> dict[str, NDArray[Any]]:
    """The arrays of traits.npz, rows in the split's order; `artifacts` by key, name/variant.

    A model whose tokenizer has no token for what it does not know has no array, nor has a cascade, whose members have
    tokenizers of their own.
    """
    found: dict[str, NDArray[Any]] = {
        "ids": np.array(split.ids), "words": np.array([len(text.split()) for text in split.texts], dtype=np.int64)
    }  # fmt: skip
    known: dict[tuple[Any, ...], Shares | None] = {}  # the files of a model have one vocabulary
    for key, artifact in artifacts.items():
        digests = [artifact.files[name]["sha256"] for name in TOKENIZER_FILES if name in artifact.files]
        if artifact.text is None or not digests:
            continue
        vocabulary = (*digests, artifact.text)
        if vocabulary not in known:
            known[vocabulary] = unknown_shares(TextEncoder.load(artifact, artifact.text), split)
        shares = known[vocabulary]
        if shares is not None:
            found[f"{UNKNOWN}{key.replace('/', '-')}"] = shares
    return found


def unknown_shares(encoder: TextEncoder, split: Split) -> Shares | None:
    """Of each text the share of the tokens that the model reads, special ones apart, that stand for anything unknown.

    Of a vocabulary of n-grams, which drops what it lacks, the share of the words without one. None for a vocabulary
    that knows everything, as one of bytes does, and for one of n-grams of bytes, which reads parts of such words.
    """
    if isinstance(encoder.tokenizer, Hashing):
        cleaned = [encoder.cleaned(text) for text in split.texts]
        parts = encoder.tokenizer.sizes.bytes
        return None if parts else encoder.tokenizer.unknown_shares(cleaned, encoder.text.max_length)
    model = json.loads(encoder.tokenizer.to_str())["model"]
    unknown = model.get("unk_id")
    if unknown is None and model.get("unk_token") is not None:
        unknown = encoder.tokenizer.token_to_id(model["unk_token"])
    if unknown is None:
        return None
    special = encoder.tokenizer.num_special_tokens_to_add(False)
    rows = encoder.encode(split.texts)
    return np.array([np.count_nonzero(row == unknown) / max(1, len(row) - special) for row in rows])


def write_traits(directory: Path, found: Mapping[str, Any]) -> None:
    """Beside the logits of the split."""
    np.savez_compressed(directory / TRAITS, **found)
