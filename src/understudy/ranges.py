"""Static INT8 ranges of an ONNX file's matrix products, measured on training texts."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from . import qdq
from .classifier import open_session
from .data.task import Split
from .qdq import Observed, Product, Range
from .tokenization import TextEncoder

TRAINED = "int8_ranges"  # a model's detail: [low, high] of each product, in graph order, that it was trained with


def observe(proto: ModelProto, encoder: TextEncoder, train: Split, samples: int, seed: int) -> dict[str, Observed]:
    """Run `samples` training texts, each at its own length; by activation, what the products are fed."""
    names = list(dict.fromkeys(product.activation for product in qdq.products(proto)))
    observed = {name: Observed() for name in names}
    if not names:
        return observed
    random = np.random.default_rng(seed)
    chosen = train.take(random.permutation(len(train))[:samples])
    session = open_session(qdq.with_outputs(proto, names).SerializeToString())
    for tokens in encoder.encode(chosen.texts):
        feed = {"input_ids": tokens[None], "attention_mask": np.ones_like(tokens[None])}
        for name, values in zip(names, session.run(names, feed), strict=True):
            observed[name].add(values, random)
    return observed


def best(proto: ModelProto, observed: dict[str, Observed]) -> list[tuple[Range, float]]:
    """Of each product, in graph order: the range that changes what it makes least, and that change."""
    found = {
        activation: qdq.best_range(observed[activation], matrices)
        for activation, matrices in _matrices(proto).items()
    }  # fmt: skip
    return [found[product.activation] for product in qdq.products(proto)]


def judged(
    proto: ModelProto, observed: dict[str, Observed], given: list[tuple[float, float]]
) -> list[tuple[Range, float]]:
    """The same of given ranges: each with the change that it makes."""
    matrices = _matrices(proto)
    return [
        (interval, qdq.change(interval, observed[product.activation], matrices[product.activation]))
        for product, interval in zip(qdq.products(proto), (Range(*ends) for ends in given), strict=True)
    ]


def _matrices(proto: ModelProto) -> dict[str, list[qdq.Array]]:
    """By activation, the weights that it is multiplied with."""
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    found: dict[str, list[qdq.Array]] = {}
    for product in qdq.products(proto):
        found.setdefault(product.activation, []).append(weight_of(product, weights))
    return found


def weight_of(product: Product, weights: dict[str, TensorProto]) -> qdq.Array:
    """W of a product, (in, out)."""
    matrix: qdq.Array = numpy_helper.to_array(weights[product.weight])
    return matrix
