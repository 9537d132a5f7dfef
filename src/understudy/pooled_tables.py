"""INT8 for tables whose rows are pooled over a text, in an ONNX graph: sums of integers (onnx, numpy)."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from .qdq import quantize_columns


def insert_pooled(model: ModelProto) -> bool:
    """Store a table whose rows are only summed over a text and compared as INT8 with one scale per column, in place.

    Sums of integers are exact, whatever their order and however many rows of zeros, padding, are among them. False if
    there is no such table.
    """
    tables = {tensor.name: tensor for tensor in model.graph.initializer}
    pooled = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Gather" and node.input[0] in tables and _only_pooled(model, node.output[0])
    }
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        rows = next((name for name in node.input if name in pooled), "")
        if node.output[0] in pooled:
            nodes += _looked_up_steps(node)
        elif rows:
            nodes += _pooled_steps(node, rows, f"{pooled[rows]}_column_scales")
        else:
            nodes.append(node)
    if not pooled:
        return False
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in pooled.values()]
    kept.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "over_words"))
    for name in dict.fromkeys(pooled.values()):
        values, scales = quantize_columns(numpy_helper.to_array(tables[name]).astype(np.float32))
        kept.append(numpy_helper.from_array(values, f"{name}_columns"))
        kept.append(numpy_helper.from_array(scales, f"{name}_column_scales"))
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    return True


def _only_pooled(model: ModelProto, name: str) -> bool:
    """Whether all that is done with rows is to multiply them by the mask from the left and to take their maximum."""
    readers = [node for node in model.graph.node if name in node.input]
    sums = [node for node in readers if node.op_type == "MatMul" and node.input[1] == name]
    return bool(sums) and all(node in sums or node.op_type == "ReduceMax" for node in readers)


def _looked_up_steps(node: NodeProto) -> list[NodeProto]:
    (table, ids), rows = node.input, node.output[0]
    return [
        helper.make_node("Gather", [f"{table}_columns", ids], [rows], node.name, axis=0),
        helper.make_node("Cast", [rows], [f"{rows}_steps"], f"{rows}_widen", to=TensorProto.INT32),
    ]


def _pooled_steps(node: NodeProto, rows: str, scales: str) -> list[NodeProto]:
    result = node.output[0]
    steps, numbers = f"{result}_steps", f"{result}_numbers"
    if node.op_type == "MatMul":
        found = helper.make_node("ReduceSum", [f"{rows}_steps", "over_words"], [steps], node.name, keepdims=1)
    else:
        found = helper.make_node("ReduceMax", list(node.input), [steps], node.name, keepdims=0)
    return [
        found,
        helper.make_node("Cast", [steps], [numbers], f"{result}_cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", [numbers, scales], [result], f"{result}_scaled"),
    ]
