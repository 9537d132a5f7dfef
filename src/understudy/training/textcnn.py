"""TextCNN: parallel convolutions over word embeddings, maximum over time (Kim 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class TextCNN(nn.Module):
    """Token ids (n, length) and mask to logits (n, labels); padding never changes a result, any length ≥ 1 works.

    All convolutions are one matrix product: each word meets every column of every kernel at once, and the
    outputs are then shifted and added. The product is what INT8 makes fast, and every sum is over the words
    of one text.
    """

    def __init__(
        self, vocabulary: int, width: int, filters: int, kernels: list[int], labels: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.shape = {"vocabulary": vocabulary, "width": width, "filters": filters, "kernels": kernels}
        self.shape["labels"] = labels
        self.kernels = kernels
        self.filters = filters
        self.embeddings = nn.Embedding(vocabulary, width, padding_idx=0)
        self.columns = nn.Linear(width, filters * sum(kernels), bias=False)
        self.bias = nn.Parameter(torch.zeros(len(kernels), filters))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(filters * len(kernels), labels)
        for kernel, columns in zip(kernels, self._split(self.columns.weight.data.T), strict=True):
            nn.init.uniform_(columns, -((width * kernel) ** -0.5), (width * kernel) ** -0.5)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits, before any softmax."""
        inside = mask.unsqueeze(-1).to(self.bias.dtype)
        words = self.dropout(self.embeddings(ids)) * inside
        products = self._split(self.columns(words))
        pooled = [
            (torch.relu(_shifted_sum(product, kernel, self.filters) + bias) * inside).amax(dim=1)
            for product, kernel, bias in zip(products, self.kernels, self.bias, strict=True)
        ]
        logits: Tensor = self.classifier(self.dropout(torch.cat(pooled, dim=-1)))
        return logits

    def _split(self, columns: Tensor) -> tuple[Tensor, ...]:
        return torch.split(columns, [self.filters * kernel for kernel in self.kernels], dim=-1)

    def keep(self, kept: Sequence[Sequence[int]]) -> None:
        """Take out all filters but the kept ones, as many of each kernel size, in place: the matrices become smaller.

        The answers become those with the others' maxima set to zero.
        """
        stay = torch.tensor([list(numbers) for numbers in kept], device=self.bias.device)  # (kernels, filters left)
        blocks = zip(self.kernels, self._split(self.columns.weight.detach().T), stay, strict=True)
        columns = [block.view(-1, kernel, self.filters)[:, :, rows].flatten(1) for kernel, block, rows in blocks]
        read = (stay + self.filters * torch.arange(len(kept), device=stay.device)[:, None]).flatten()
        self.columns.weight = nn.Parameter(torch.cat(columns, dim=1).T.contiguous())
        self.bias = nn.Parameter(self.bias.detach().gather(1, stay))
        self.classifier.weight = nn.Parameter(self.classifier.weight.detach()[:, read])
        self.filters = self.shape["filters"] = stay.shape[1]
        self.columns.out_features, self.classifier.in_features = len(self.columns.weight), len(read)

    def config(self) -> dict[str, Any]:
        """What rebuilds this shape: the constructor's arguments."""
        return dict(self.shape)


def _shifted_sum(product: Tensor, kernel: int, filters: int) -> Tensor:
    """Σ_j column j of the word at t + j − (kernel − 1)//2; outside the text is zero."""
    length = product.shape[1]
    left = (kernel - 1) // 2
    padded = nn.functional.pad(product, (0, 0, left, kernel - 1 - left))
    total = padded[:, :length, :filters]
    for j in range(1, kernel):
        total = total + padded[:, j : j + length, j * filters : (j + 1) * filters]
    return total
