"""A transformers classifier as our loop sees it, in the task's labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..label_mapping import LabelMapping


class HubClassifier(nn.Module):
    """A transformers classifier as a function of ids and mask; with a mapping, its answers in the task's labels.

    The mapping is part of the function, and so of an ONNX file made of it; the weights stay those of the classifier.
    """

    def __init__(self, model: PreTrainedModel, mapping: LabelMapping | None = None) -> None:
        super().__init__()
        self.model = model
        self.mapping = mapping

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits (n, labels)."""
        logits: Tensor = self.model(input_ids=ids, attention_mask=mask).logits
        if self.mapping is None:
            return logits
        # as `LabelMapping.apply`
        columns = [logits[:, group] for group in self.mapping.groups]
        return torch.cat([part if part.shape[1] == 1 else part.logsumexp(1, keepdim=True) for part in columns], dim=1)
