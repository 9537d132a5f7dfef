"""Untrained word networks: over words learnt from train, or over the teacher's own tokens; perhaps from its table."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from ..artifact import TextConfig
from ..config import BiGRUStudent, BiLSTMStudent, GatedCNNStudent, TextCNNStudent
from ..data.task import Split
from ..student_settings import WordStudent
from ..tokenization import TextEncoder
from . import vocabulary
from .birnn import BiRNN, Cell
from .gated_cnn import GatedCNN
from .hub_classifier import HubClassifier
from .networks import Network, WordNetwork
from .textcnn import TextCNN


def over_words(config: WordStudent, source: Network | None, train: Split, labels: int) -> Network:
    """A network over the words of train; `source` is given where its table is where they start."""
    tokenizer = vocabulary.learn_words(train.texts, config.vocabulary, config.min_count)
    module = fresh(config, tokenizer.get_vocab_size(), labels)
    if source is not None:
        assert isinstance(source.tokenizer, Tokenizer)
        start = vocabulary.embeddings_from_teacher(tokenizer, source.tokenizer, _table(source), config.width)
        with torch.no_grad():
            module.embeddings.weight.copy_(start)
    return Network(module, tokenizer, 0, config.kind)


def over_tokens(
    config: WordStudent, source: Network, text: TextConfig, transfer: Split, labels: int, warnings: list[str]
) -> Network:
    """A network over the tokens of `source` that the transfer set uses, without marks around a text.

    [CLS] and [SEP] tell a transformer where to gather a text; here they would be two words of each text.
    """
    assert isinstance(source.tokenizer, Tokenizer)
    tokenizer = Tokenizer.from_str(source.tokenizer.to_str())
    tokenizer.post_processor = None
    used = TextEncoder(tokenizer, text).encode(transfer.texts)
    trimmed = vocabulary.trim(tokenizer, [vocabulary.most_frequent(used, config.vocabulary, config.min_count)])
    table = _table(source)
    if trimmed is None:
        warnings.append(vocabulary.UNTRIMMED)
    tokenizer, kept = trimmed or (tokenizer, list(range(len(table))))
    module, pad_id = fresh(config, len(kept), labels), kept.index(source.pad_id)
    module.embeddings = nn.Embedding(len(kept), config.width, padding_idx=pad_id)
    if config.teacher_embeddings:
        start = vocabulary.rotated(table[torch.tensor(kept)], config.width)
        start[pad_id] = 0
        with torch.no_grad():
            module.embeddings.weight.copy_(start)
    return Network(module, tokenizer, pad_id, config.kind)


def fresh(config: WordStudent, words: int, labels: int) -> WordNetwork:
    """A network of the given shape with random weights."""
    match config:
        case TextCNNStudent():
            return TextCNN(words, config.width, config.filters, config.kernels, labels, config.dropout)
        case GatedCNNStudent():
            return GatedCNN(
                words, config.width, config.channels, config.kernel, config.blocks, labels, config.dropout,
                config.pooling,
            )  # fmt: skip
        case BiLSTMStudent() | BiGRUStudent():
            cell: Cell = "lstm" if config.kind == "bilstm" else "gru"
            return BiRNN(
                words, config.width, config.units, config.layers, labels, config.dropout, cell, config.pooling
            )  # fmt: skip


def _table(source: Network) -> Tensor:
    assert isinstance(source.module, HubClassifier)
    model: Any = source.module.model
    table: Tensor = model.get_input_embeddings().weight.detach()
    return table
