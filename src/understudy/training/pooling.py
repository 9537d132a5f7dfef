"""Pooling: the states of a text's words to one vector."""

from __future__ import annotations

import torch
from torch import Tensor

from ..student_settings import Pooling


def pool(states: Tensor, mask: Tensor, how: Pooling) -> Tensor:
    """States (n, length, width) of the words that the mask (n, length) leaves, to (n, width), or twice that.

    The mean is a product with a row of weights: ONNX Runtime's ReduceSum adds in another order in a batch of one, its
    MatMul does not.
    """
    greatest = torch.where(mask.unsqueeze(-1) > 0, states, torch.finfo(states.dtype).min).amax(dim=1)
    if how == "max":
        return greatest
    with torch.autocast(states.device.type, enabled=False):
        shares = mask.to(states.dtype) / mask.sum(dim=1, keepdim=True).to(states.dtype)
        mean = (shares.unsqueeze(1) @ states).squeeze(1)
    return torch.cat([greatest, mean], dim=-1)


def pooled_width(width: int, how: Pooling) -> int:
    """How wide what is pooled of states of that width is."""
    return width if how == "max" else 2 * width
