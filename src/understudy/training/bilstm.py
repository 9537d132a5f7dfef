"""BiLSTM: a bidirectional LSTM over word embeddings, maximum over time (Tang et al. 2019, Conneau et al. 2017)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class BiLSTM(nn.Module):
    """Token ids (n, length) and mask (ones, then zeros) to logits (n, labels); padding never changes a result.

    The states of all words are pooled, not the last ones of each direction: a word in the middle of a long text
    then need not be remembered to either end. Their maximum beat their mean as a sentence's embedding (Conneau et
    al. 2017).
    """

    def __init__(self, vocabulary: int, width: int, units: int, layers: int, labels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = {"vocabulary": vocabulary, "width": width, "units": units, "layers": layers, "labels": labels}
        self.embeddings = nn.Embedding(vocabulary, width, padding_idx=0)
        between = dropout if layers > 1 else 0.0  # nn.LSTM warns where there is no place for it
        self.recurrence: nn.Module = _PackedLSTM(
            nn.LSTM(width, units, layers, batch_first=True, dropout=between, bidirectional=True)
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * units, labels)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits, before any softmax."""
        states = self.recurrence(self.dropout(self.embeddings(ids)), mask.sum(dim=1))
        # a state lies between -1 and 1, so that -1 behind a text is never its maximum
        pooled = torch.where(mask.unsqueeze(-1) > 0, states, -1.0).amax(dim=1)
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits

    def config(self) -> dict[str, Any]:
        """What rebuilds this shape: the constructor's arguments."""
        return dict(self.shape)

    def for_export(self) -> BiLSTM:
        """A copy with equal logits whose recurrence becomes ONNX's LSTM operator; only the exporter can run it."""
        twin = copy.deepcopy(self)
        assert isinstance(twin.recurrence, _PackedLSTM)
        twin.recurrence = _OperatorLSTM(twin.recurrence.lstm)
        return twin


class _PackedLSTM(nn.Module):
    """Words (n, length, width) and lengths (n) to states (n, length, 2 · units): neither direction reads padding."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.lstm = lstm

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        # in FP32 under autocast: a cell's state adds up over the whole text
        with torch.autocast(words.device.type, enabled=False):
            packed = nn.utils.rnn.pack_padded_sequence(
                words.float(), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            states, _ = self.lstm(packed)
        padded, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=words.shape[1])
        return padded


class _OperatorLSTM(nn.Module):
    """The same function as one LSTM operator of ONNX per layer, which takes the lengths as an input.

    torch.export fails on packed sequences. It turns a plain nn.LSTM into the operator, too, but without lengths and
    with the weights in pieces that nodes of the graph put together. Here they are constants, which can be stored
    smaller and which ONNX Runtime packs: from packed weights a text gets the same bytes in any batch (from others a
    batch of one takes another kernel, and logits move by 2e-7).
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.units = lstm.hidden_size
        self.layers = lstm.num_layers
        for layer in range(self.layers):
            biases = [_both_directions(lstm, f"{name}_l{layer}") for name in ("bias_ih", "bias_hh")]
            self.register_buffer(f"W_{layer}", _both_directions(lstm, f"weight_ih_l{layer}"))
            self.register_buffer(f"R_{layer}", _both_directions(lstm, f"weight_hh_l{layer}"))
            self.register_buffer(f"B_{layer}", torch.cat(biases, dim=1))

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        count, length, _ = words.shape
        states = words.transpose(0, 1)  # the operator counts time first
        for layer in range(self.layers):
            weights = [self.get_buffer(f"{name}_{layer}") for name in "WRB"]
            states = torch.onnx.ops.symbolic(
                "LSTM",
                [states, *weights, lengths.to(torch.int32)],
                {"direction": "bidirectional", "hidden_size": self.units},
                dtype=words.dtype,
                shape=(length, 2, count, self.units),
            )
            states = states.transpose(1, 2).flatten(2)
        return states.transpose(0, 1)


def _both_directions(lstm: nn.LSTM, name: str) -> Tensor:
    """A weight or bias as the operator wants it: (2, 4 · units, …), gates in the order input, output, forget, cell."""
    directions = []
    for suffix in ("", "_reverse"):
        input_gate, forget, cell, output = lstm.get_parameter(name + suffix).detach().chunk(4)
        directions.append(torch.cat([input_gate, output, forget, cell]))
    return torch.stack(directions)
