"""INT8 in an ONNX graph: static ranges on the matrix products, row-wise embedding tables, FP16 storage (onnx, numpy).

A product X·W becomes Q(X)·Q(W): X unsigned with one scale, W signed with one scale per column, as QuantizeLinear and
DequantizeLinear pairs that ONNX Runtime fuses into one INT8 kernel with FP32 output. The ranges are constants of
the file, so that a text's result does not depend on its batch.

ONNX Runtime's LSTM and GRU take no such pairs, and the LSTM's sibling for INT8 takes ranges from each batch: recurrent
weights are INT8 in the file and FP32 in the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = NDArray[np.float32]

_ROWS_PER_RUN = 24  # activation rows kept of a text: enough for ranges, little memory
_SHRINKS = np.linspace(1.0, 0.4, 25)
_SMALL_TABLE = 16384  # smaller lookup tables stay as they are


@dataclass(frozen=True)
class Product:
    """A matrix product with a constant right side."""

    node: str
    activation: str
    weight: str


@dataclass
class Observed:
    """What was seen of an activation: its extremes over everything, and a sample of its rows."""

    low: float = 0.0
    high: float = 0.0
    rows: list[Array] = field(default_factory=list)

    def add(self, values: Array, random: np.random.Generator) -> None:
        """Take in the activation of one run, (…, width)."""
        flat = values.reshape(-1, values.shape[-1])
        self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
        keep = random.permutation(len(flat))[:_ROWS_PER_RUN]
        self.rows.append(flat[keep].astype(np.float32))

    def sample(self) -> Array:
        """The kept rows, (n, width)."""
        return np.concatenate(self.rows)


@dataclass(frozen=True)
class Range:
    """The interval that 0…255 stands for; contains 0."""

    low: float
    high: float

    @property
    def scale(self) -> float:
        """Width of one step."""
        return max((self.high - self.low) / 255, 1e-12)

    @property
    def zero_point(self) -> int:
        """The step that stands for 0."""
        return int(np.clip(np.round(-self.low / self.scale), 0, 255))

    def round(self, values: Array) -> Array:
        """The values that the steps stand for."""
        steps = np.clip(np.round(values / self.scale) + self.zero_point, 0, 255)
        rounded: Array = ((steps - self.zero_point) * self.scale).astype(np.float32)
        return rounded


def products(model: ModelProto) -> list[Product]:
    """The matrix products with a constant weight, in graph order."""
    constants = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    return [
        Product(node.name, node.input[0], node.input[1])
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in constants
    ]


def with_outputs(model: ModelProto, names: Iterable[str]) -> ModelProto:
    """A copy whose inner tensors `names` are outputs."""
    opened = ModelProto()
    opened.CopyFrom(model)
    for name in dict.fromkeys(names):
        opened.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return opened


def best_range(observed: Observed, weights: Sequence[Array]) -> tuple[Range, float]:
    """The range whose rounding changes the products X·W least, and that change relative to ‖X·W‖.

    Shrinks both ends from the extremes seen, the longer end first: a few outliers would otherwise cost every other
    value its resolution.
    """
    loss = _squared_change(observed, weights)
    best = Range(observed.low, observed.high)
    least = loss(best)
    for ends in ("high", "low"):
        start = best
        for shrink in _SHRINKS[1:]:
            factor = float(shrink)
            candidate = (
                Range(start.low, start.high * factor) if ends == "high" else Range(start.low * factor, start.high)
            )
            found = loss(candidate)
            if found < least:
                best, least = candidate, found
    return best, least**0.5


def change(interval: Range, observed: Observed, weights: Sequence[Array]) -> float:
    """How much rounding in this range changes the products X·W, relative to ‖X·W‖."""
    return math.sqrt(_squared_change(observed, weights)(interval))


def _squared_change(observed: Observed, weights: Sequence[Array]) -> Callable[[Range], float]:
    x = observed.sample()
    joined = np.concatenate(weights, axis=1)
    exact = x @ joined
    size = float(np.square(exact).sum()) or 1.0
    return lambda interval: float(np.square(interval.round(x) @ joined - exact).sum()) / size


def full_range(observed: Observed) -> Range:
    """Everything that was seen."""
    return Range(observed.low, observed.high)


def quantize_columns(weight: Array) -> tuple[NDArray[np.int8], Array]:
    """Symmetric INT8 of W (in, out) with one scale per column."""
    scales = np.maximum(np.abs(weight).max(axis=0), 1e-12) / 127
    return np.clip(np.round(weight / scales), -127, 127).astype(np.int8), scales.astype(np.float32)


def quantize_rows(table: Array) -> tuple[NDArray[np.int8], Array]:
    """Symmetric INT8 of a table (…, width) with one scale per row, (…, 1)."""
    values, scales = quantize_columns(np.ascontiguousarray(table.reshape(-1, table.shape[-1]).T))
    return np.ascontiguousarray(values.T).reshape(table.shape), scales.reshape(*table.shape[:-1], 1)


def insert_products(model: ModelProto, ranges: dict[str, Range]) -> None:
    """Quantise the products named in `ranges` (by node), in place."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    chosen = {product.node: product for product in products(model) if product.node in ranges}
    nodes: list[NodeProto] = []
    done: set[str] = set()
    for node in model.graph.node:
        product = chosen.get(node.name)
        if product is not None:
            interval = ranges[node.name]
            if product.activation not in done:
                nodes += _quantized_activation(model, product.activation, interval)
                done.add(product.activation)
            if product.weight not in done:
                nodes.append(_quantized_weight(model, weights[product.weight]))
                done.add(product.weight)
            node.input[0] = f"{product.activation}_dq"
            node.input[1] = f"{product.weight}_dq"
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop_unused(model)


def tables(model: ModelProto) -> dict[str, Array]:
    """The large lookup tables in FP32, (rows, width), by name: those that `insert_tables` rounds."""
    looked_up = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name in looked_up
        and tensor.data_type == TensorProto.FLOAT
        and len(tensor.dims) == 2
        and _size(tensor) >= _SMALL_TABLE
    }


def insert_tables(model: ModelProto) -> int:
    """Store lookup tables as INT8 with one scale per row, in place; returns how many lookups changed."""
    large = tables(model)
    nodes: list[NodeProto] = []
    count = 0
    for node in model.graph.node:
        if node.op_type != "Gather" or node.input[0] not in large:
            nodes.append(node)
            continue
        nodes += _quantized_lookup(model, node, large[node.input[0]])
        count += 1
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop_unused(model)
    return count


def insert_recurrent(model: ModelProto) -> None:
    """Store the weights of LSTM and GRU operators as INT8 with one scale per gate of a unit, in place.

    They are widened when the file is loaded, so that this saves bytes and no time.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    names = [name for node in model.graph.node if node.op_type in ("LSTM", "GRU") for name in node.input[1:3]]
    widened: list[NodeProto] = []
    for name in names:
        values, scales = quantize_rows(numpy_helper.to_array(weights[name]).astype(np.float32))
        _add(model, f"{name}_rows", values)
        _add(model, f"{name}_row_scales", scales)
        steps = f"{name}_steps"
        widened += [
            helper.make_node("Cast", [f"{name}_rows"], [steps], f"{name}_cast", to=TensorProto.FLOAT),
            helper.make_node("Mul", [steps, f"{name}_row_scales"], [name], f"{name}_scaled"),
        ]
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in names]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    nodes = [*widened, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def halve(model: ModelProto) -> None:
    """Store large FP32 constants as FP16, in place; they are widened when the file is loaded.

    The arithmetic stays FP32, which CPUs are built for, and no activation can overflow.
    """
    casts: list[NodeProto] = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or _size(tensor) < 256:
            continue
        name, limit = tensor.name, np.finfo(np.float16).max
        values = np.clip(numpy_helper.to_array(tensor), -limit, limit).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(values, f"{name}_fp16"))
        casts.append(helper.make_node("Cast", [f"{name}_fp16"], [name], f"{name}_widen", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _quantized_activation(model: ModelProto, name: str, interval: Range) -> list[NodeProto]:
    _add(model, f"{name}_scale", np.array(interval.scale, dtype=np.float32))
    _add(model, f"{name}_zero", np.array(interval.zero_point, dtype=np.uint8))
    parameters = [f"{name}_scale", f"{name}_zero"]
    return [
        helper.make_node("QuantizeLinear", [name, *parameters], [f"{name}_q"], f"{name}_quantize"),
        helper.make_node("DequantizeLinear", [f"{name}_q", *parameters], [f"{name}_dq"], f"{name}_dequantize"),
    ]


def _quantized_weight(model: ModelProto, weight: TensorProto) -> NodeProto:
    name = weight.name
    values, scales = quantize_columns(numpy_helper.to_array(weight).astype(np.float32))
    _add(model, f"{name}_q", values)
    _add(model, f"{name}_scale", scales)
    _add(model, f"{name}_zero", np.zeros(len(scales), dtype=np.int8))
    inputs = [f"{name}_q", f"{name}_scale", f"{name}_zero"]
    return helper.make_node("DequantizeLinear", inputs, [f"{name}_dq"], f"{name}_dequantize", axis=1)


def _quantized_lookup(model: ModelProto, node: NodeProto, table: Array) -> list[NodeProto]:
    """Gather(table, ids) as Cast(Gather(rows, ids)) · Gather(scales, ids)."""
    name, ids, result = node.input[0], node.input[1], node.output[0]
    values, scales = quantize_rows(table)
    if f"{name}_rows" not in {tensor.name for tensor in model.graph.initializer}:
        _add(model, f"{name}_rows", values)
        _add(model, f"{name}_row_scales", scales)
    return [
        helper.make_node("Gather", [f"{name}_rows", ids], [f"{result}_int8"], f"{node.name}_rows", axis=0),
        helper.make_node("Cast", [f"{result}_int8"], [f"{result}_steps"], f"{node.name}_cast", to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{name}_row_scales", ids], [f"{result}_scale"], f"{node.name}_scale", axis=0),
        helper.make_node("Mul", [f"{result}_steps", f"{result}_scale"], [result], f"{node.name}_scaled"),
    ]


def _add(model: ModelProto, name: str, values: NDArray[np.generic]) -> None:
    model.graph.initializer.append(numpy_helper.from_array(values, name))


def _drop_unused(model: ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input} | {output.name for output in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _size(tensor: TensorProto) -> int:
    return int(np.prod(tensor.dims))
