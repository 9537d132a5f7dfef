"""The tokenizer of a pretrained model in the form that artifacts keep: a tokenizer.json."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertweetTokenizer

from ..errors import InputError, first_line
from . import bertweet


@dataclass(frozen=True)
class HubTokenizer:
    """A tokenizer, the id of its padding, and the ids whose embeddings its own have, in the order of its ids.

    `embeddings` is None where each id has its own.
    """

    tokenizer: Tokenizer
    pad_id: int
    embeddings: list[int] | None = None
    warnings: tuple[str, ...] = ()


def read(source: str, name: str) -> HubTokenizer:
    """The tokenizer at a hub name or in a directory; raises InputError in one line, which calls the model `name`."""
    try:
        found = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise InputError(f"the tokenizer of {name!r} cannot be loaded: {first_line(error)}") from None
    if len(found.get_vocab()) <= len(found.added_tokens_decoder):  # what transformers makes of missing files
        raise InputError(f"model {name!r} has no tokenizer; put its tokenizer.json beside the weights")
    pad_id = int(found.pad_token_id) if found.pad_token_id is not None else 0
    if isinstance(found, BertweetTokenizer):
        if not any(len(pair) == 2 for pair in found.bpe_ranks):
            raise InputError(
                f"bpe.codes of {name!r} has no merges that transformers can read: each line is two symbols and a "
                "count (`save_pretrained` drops the counts); copy the published file"
            )
        converted = bertweet.convert(found)
        rows = [*range(converted.vocabulary), *converted.repeated]
        return HubTokenizer(converted.tokenizer, pad_id, rows, tuple(converted.warnings))
    backend = getattr(found, "backend_tokenizer", None)
    if backend is None:
        raise InputError(f"the tokenizer of {name!r} has no tokenizer.json form; convert it to a fast tokenizer first")
    return HubTokenizer(Tokenizer.from_str(backend.to_str()), pad_id)
