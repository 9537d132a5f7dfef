"""Hashed n-grams: a row of a table for each, pooled without order, and at most one layer (after Joulin et al. 2017).

Sum and maximum are all that a text's length and order can touch. The maximum finds the one telling n-gram, which a mean
dilutes: on emotion it is worth six points. Both take padding and n-grams without a row for zeros.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class HashedNgrams(nn.Module):
    """Ids of n-grams (n, length), 0 for none, and mask to logits (n, labels); padding never changes a result.

    `width` 0 makes it linear: a row is what its n-gram adds to the logits, the first of two of which is left at 0 where
    `outputs` is 1.
    """

    def __init__(self, ngrams: int, width: int, labels: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = {"ngrams": ngrams, "width": width, "labels": labels, "outputs": outputs}
        self.table = nn.Embedding(ngrams + 1, width or outputs, padding_idx=0)
        nn.init.normal_(self.table.weight, std=0.1 if width else 0.0)
        with torch.no_grad():
            self.table.weight[0] = 0
        self.dropout = dropout
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.classifier = nn.Linear(2 * width, outputs, bias=False) if width else None

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits, before any softmax."""
        if not self.training:
            return self._logits(ids, mask)
        if self.dropout:
            ids = ids * (torch.rand(ids.shape, device=ids.device) >= self.dropout)
        with torch.autocast(ids.device.type, enabled=False):  # sums over long texts, and next to no products to be had
            return self._logits(ids, mask)

    def _logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        rows = self.table(ids)
        words = mask.unsqueeze(1).to(rows.dtype)
        # ONNX Runtime's product gives a text the same bytes in any batch; its sum has another order for a batch of one
        pooled = (words @ rows).squeeze(1) / words.sum(dim=-1).sqrt()
        if self.classifier is not None:
            pooled = self.classifier(torch.cat([pooled, torch.relu(rows.amax(dim=1))], dim=-1))
        logits: Tensor = pooled + self.bias
        if self.shape["outputs"] < self.shape["labels"]:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=-1)
        return logits

    def config(self) -> dict[str, Any]:
        """What rebuilds this shape: the constructor's arguments."""
        return dict(self.shape)
