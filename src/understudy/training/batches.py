"""Batches: which rows go together, their padding, and what a student is to match beside logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..tokenization import Tokens

_BUCKET = 50  # batches that are sorted by length together: padding falls below 5 %, the order stays random

Half = NDArray[np.float16]


@dataclass(frozen=True)
class LayerTargets:
    """The teacher's layers that a student is to match, one for each of its own, of the first token of every text.

    `hidden` (n, layers, width): its states, each of length 1. `attention`, by text (layers, tokens): its attention.
    """

    hidden: Half | None = None
    attention: Sequence[Half] | None = None

    def batch(self, rows: NDArray[np.int64], length: int, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
        """States (rows, layers, width) and attention (rows, layers, length), which is 0 on padding, in float32."""
        hidden, attention = None, None
        if self.hidden is not None:
            hidden = torch.from_numpy(self.hidden[rows].astype(np.float32)).to(device)
        if self.attention is not None:
            padded = np.zeros((len(rows), len(self.attention[0]), length), np.float32)
            for at, row in enumerate(rows):
                padded[at, :, : self.attention[row].shape[1]] = self.attention[row]
            attention = torch.from_numpy(padded).to(device)
        return hidden, attention


def pad(tokens: Sequence[Tokens], pad_id: int) -> tuple[Tensor, Tensor]:
    """Ids (n, longest) and mask, padded on the right."""
    lengths = np.array([len(row) for row in tokens])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = np.concatenate(tokens)
    return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))


def longest_first(tokens: Sequence[Tokens], size: int) -> list[NDArray[np.int64]]:
    """Batches of rows from the longest to the shortest: little padding, and what does not fit fails at once."""
    order = np.argsort([-len(row) for row in tokens], kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]


def epoch_batches(tokens: Sequence[Tokens], size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """A random order of batches of similar length; the same for the same seed and epoch."""
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(len(tokens))
    lengths = np.array([len(row) for row in tokens])
    cut: list[NDArray[np.int64]] = []
    for start in range(0, len(order), size * _BUCKET):
        bucket = order[start : start + size * _BUCKET]
        bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
        cut += [bucket[first : first + size] for first in range(0, len(bucket), size)]
    return [cut[index] for index in random.permutation(len(cut))]
