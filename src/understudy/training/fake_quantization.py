"""INT8 simulated in training: a module that computes what its static INT8 file will, with gradients that pass through.

Rounded is exactly what `qdq` rounds in the ONNX file: what goes into its matrix products, in their static ranges, their
weights by column, and the rows of large embedding tables. A step of rounding has no slope; its gradient is taken for 1
inside the range and 0 outside (the straight-through estimator, Bengio et al. 2013; for INT8 arithmetic Jacob et al.
2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import ModelProto
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from .. import qdq, ranges
from ..errors import RecipeError
from ..qdq import Range


@dataclass(frozen=True)
class Places:
    """Where INT8 rounds, by the number of a call in a forward pass.

    `products` are calls of `linear`, in the order of the ONNX graph; `lookups` are calls of `embedding`.
    """

    products: tuple[int, ...]
    lookups: frozenset[int]


class FakeQuantized(nn.Module):
    """A module with INT8 simulated: the same parameters, other logits."""

    def __init__(self, module: nn.Module, places: Places, intervals: Sequence[Range]) -> None:
        super().__init__()
        self.module = module
        self.lookups = places.lookups
        self.intervals = dict(zip(places.products, intervals, strict=True))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits as the INT8 file gives them."""
        with _Rounding(self.intervals, self.lookups):
            logits: Tensor = self.module(ids, mask)
        return logits


def find_places(module: nn.Module, proto: ModelProto, name: str) -> Places:
    """Find what the ONNX file of a module rounds in the module itself, by the weights; `name` is the student's.

    Raises RecipeError if a product of the file is no linear layer of the module.
    """
    with torch.inference_mode(), _Recording() as calls:
        ids = torch.ones(1, 4, dtype=torch.int64)
        module.eval()(ids, torch.ones_like(ids))
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    left = dict(enumerate(calls.linear))
    products = []
    for product in qdq.products(proto):
        matrix = ranges.weight_of(product, weights)
        number = next((number for number, weight in left.items() if np.array_equal(weight.T, matrix)), None)
        if number is None:
            raise RecipeError(
                f"student {name}: quant_epochs cannot simulate INT8 in this model, whose product {product.node} is no "
                "linear layer; remove quant_epochs"
            )
        del left[number]
        products.append(number)
    tables = list(qdq.tables(proto).values())
    lookups = {
        number for number, table in enumerate(calls.embedding) if any(np.array_equal(table, each) for each in tables)
    }
    return Places(tuple(products), frozenset(lookups))


class _Recording(TorchFunctionMode):
    """Notes the weights of all linear layers and embeddings in the order in which they are called."""

    def __init__(self) -> None:
        super().__init__()
        self.linear: list[np.ndarray[Any, Any]] = []
        self.embedding: list[np.ndarray[Any, Any]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (functional.linear, functional.embedding):
            weight = (kwargs or {})["weight"] if len(args) < 2 else args[1]
            (self.linear if func is functional.linear else self.embedding).append(weight.detach().cpu().numpy())
        return func(*args, **(kwargs or {}))


class _Rounding(TorchFunctionMode):
    """One forward pass in which the calls of these numbers are rounded."""

    def __init__(self, intervals: dict[int, Range], lookups: frozenset[int]) -> None:
        super().__init__()
        self.intervals, self.lookups = intervals, lookups
        self.linears = self.embeddings = -1

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.linear:
            self.linears += 1
            if self.linears in self.intervals:
                return _rounded_linear(self.intervals[self.linears], *args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        if func is functional.embedding:
            self.embeddings += 1
            if self.embeddings in self.lookups:
                return _round_rows(result)
        return result


def _rounded_linear(interval: Range, values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer as `qdq.insert_products` computes it; weight (out, in)."""
    rounded = torch.fake_quantize_per_tensor_affine(values, interval.scale, interval.zero_point, 0, 255)
    return functional.linear(rounded, _round_rows(weight), bias)


def _round_rows(values: Tensor) -> Tensor:
    """Signed INT8 with one scale per row (…, width), as `qdq.quantize_rows` and, for a transposed W, its columns."""
    rows = values.reshape(-1, values.shape[-1])
    scales = rows.detach().abs().amax(dim=1).clamp_min(1e-12) / 127
    zeros = torch.zeros_like(scales, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(rows, scales, zeros, 0, -127, 127).view_as(values)
