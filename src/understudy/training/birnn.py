"""BiRNN: a bidirectional LSTM or GRU over embeddings, pooled over time (Tang et al. 2019, Conneau et al. 2017)."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..student_settings import Pooling
from .pooling import pool, pooled_width

Cell = Literal["lstm", "gru"]


class BiRNN(nn.Module):
    """Token ids (n, length) and mask (ones, then zeros) to logits (n, labels); padding never changes a result.

    The states of all words are pooled, not the last ones of each direction: a word in the middle of a long text
    then need not be remembered to either end. Their maximum beat their mean as a sentence's embedding (Conneau et
    al. 2017); a classifier can read both.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        units: int,
        layers: int,
        labels: int,
        dropout: float = 0.0,
        cell: Cell = "lstm",
        pooling: Pooling = "max",
    ) -> None:
        super().__init__()
        self.shape = {"vocabulary": vocabulary, "width": width, "units": units, "layers": layers, "labels": labels}
        self.cell, self.pooling = cell, pooling
        self.embeddings = nn.Embedding(vocabulary, width, padding_idx=0)
        between = dropout if layers > 1 else 0.0  # torch warns where there is no place for it
        make = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.recurrence: nn.Module = _Packed(
            make(width, units, layers, batch_first=True, dropout=between, bidirectional=True)
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(pooled_width(2 * units, pooling), labels)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits, before any softmax."""
        states = self.recurrence(self.dropout(self.embeddings(ids)), mask.sum(dim=1))
        logits: Tensor = self.classifier(self.dropout(pool(states, mask, self.pooling)))
        return logits

    def config(self) -> dict[str, Any]:
        """What rebuilds this shape: the constructor's arguments."""
        return {**self.shape, "cell": self.cell, "pooling": self.pooling}

    def for_export(self) -> BiRNN:
        """A copy with equal logits whose recurrence becomes ONNX's own operator; only the exporter can run it."""
        twin = copy.deepcopy(self)
        assert isinstance(twin.recurrence, _Packed)
        twin.recurrence = _Operator(twin.recurrence.rnn)
        return twin


class _Packed(nn.Module):
    """Words (n, length, width) and lengths (n) to states (n, length, 2 · units): neither direction reads padding."""

    def __init__(self, rnn: nn.LSTM | nn.GRU) -> None:
        super().__init__()
        self.name = rnn.mode.lower()
        self.add_module(self.name, rnn)  # the weights' names in files tell what they are: recurrence.lstm.…

    @property
    def rnn(self) -> Any:
        """The LSTM or GRU."""
        return self.get_submodule(self.name)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        # in FP32 under autocast: a cell's state adds up over the whole text
        with torch.autocast(words.device.type, enabled=False):
            packed = nn.utils.rnn.pack_padded_sequence(
                words.float(), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            states, _ = self.rnn(packed)
        padded, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=words.shape[1])
        return padded


class _Operator(nn.Module):
    """The same function as one LSTM or GRU operator of ONNX per layer, which takes the lengths as an input.

    torch.export fails on packed sequences. It turns a plain nn.LSTM into the operator, too, but without lengths and
    with the weights in pieces that nodes of the graph put together. Here they are constants, which can be stored
    smaller and which ONNX Runtime packs: from packed weights a text gets the same bytes in any batch (from others a
    batch of one takes another kernel, and logits move by 2e-7).
    """

    def __init__(self, rnn: nn.LSTM | nn.GRU) -> None:
        super().__init__()
        self.name, self.layers = rnn.mode, rnn.num_layers
        self.attributes: dict[str, Any] = {"direction": "bidirectional", "hidden_size": rnn.hidden_size}
        if rnn.mode == "GRU":
            self.attributes["linear_before_reset"] = 1  # the reset gate scales R·h + its bias, as torch has it
        for layer in range(self.layers):
            biases = [_both_directions(rnn, f"{name}_l{layer}") for name in ("bias_ih", "bias_hh")]
            self.register_buffer(f"W_{layer}", _both_directions(rnn, f"weight_ih_l{layer}"))
            self.register_buffer(f"R_{layer}", _both_directions(rnn, f"weight_hh_l{layer}"))
            self.register_buffer(f"B_{layer}", torch.cat(biases, dim=1))

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        count, length, _ = words.shape
        states = words.transpose(0, 1)  # the operator counts time first
        for layer in range(self.layers):
            weights = [self.get_buffer(f"{name}_{layer}") for name in "WRB"]
            states = torch.onnx.ops.symbolic(
                self.name,
                [states, *weights, lengths.to(torch.int32)],
                self.attributes,
                dtype=words.dtype,
                shape=(length, 2, count, self.attributes["hidden_size"]),
            )
            states = states.transpose(1, 2).flatten(2)
        return states.transpose(0, 1)


# the operators' order of gates, by torch's: input, forget, cell, output → i, o, f, c; reset, update, new → z, r, h
_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}


def _both_directions(rnn: nn.LSTM | nn.GRU, name: str) -> Tensor:
    """A weight or bias as the operator wants it: (2, gates · units, …), gates in its order."""
    order = _GATES[rnn.mode]
    directions = []
    for suffix in ("", "_reverse"):
        gates = rnn.get_parameter(name + suffix).detach().chunk(len(order))
        directions.append(torch.cat([gates[gate] for gate in order]))
    return torch.stack(directions)
