"""What an ONNX file may not ask for, found in its bytes before onnxruntime reads them; needs no onnx package.

Weights in other files would be read from wherever the file says, and operators of other domains run code that is not
onnxruntime's. Only the wire format of protobuf is known here, and the few fields that lead to tensors and names: all
else is skipped unread, so that a file of 90 MB takes as long as its graph, some milliseconds.
"""

from __future__ import annotations

from pathlib import Path

from .errors import ArtifactError

DOMAINS = (b"", b"ai.onnx")  # all that export and quantize write

# By kind of message: the fields that hold further messages, and of what kind; the field that holds a domain.
_INSIDE = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 9: "opset", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "opset": {},
    "tensor": {},
}
_DOMAIN = {"opset": 1, "node": 7, "function": 10}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor

# A teacher of six layers has 5,000. A file of nothing but tiny fields, made to take long, ends here after a second.
_MOST_FIELDS = 1_000_000


def check_onnx(model: bytes, name: str | Path) -> None:
    """Refuse a file with weights outside it or operators of foreign domains; raises ArtifactError, which names it."""
    try:
        problem = _problem(model)
    except (IndexError, ValueError):
        problem = "it is not an ONNX file, or not a whole one"
    if problem:
        raise ArtifactError(f"{name} is not opened: {problem}; take the artifact from its maker again, or export it")


def _problem(model: bytes) -> str:
    """What is wrong, or nothing; raises IndexError or ValueError for what protobuf could not read either."""
    todo, fields, graphs = [("model", 0, len(model))], 0, 0
    while todo:
        kind, at, end = todo.pop()
        graphs += kind == "graph"
        inside, domain = _INSIDE[kind], _DOMAIN.get(kind)
        while at < end:
            fields += 1
            if fields > _MOST_FIELDS:
                return f"it has more than {_MOST_FIELDS:,} parts"
            number, wire, start, at = _field(model, at)
            if at > end:
                raise ValueError("a field is longer than what holds it")
            if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and any(model[start:at]))):
                return "it keeps weights in another file (external data)"
            if wire != 2:
                continue
            if number == domain and model[start:at] not in DOMAINS:
                name = model[start : min(at, start + 60)].decode(errors="replace")
                return f"it uses operators of the domain {name!r}"
            if number in inside:
                todo.append((inside[number], start, at))
    return "" if graphs else "it holds no graph"


def _field(data: bytes, at: int) -> tuple[int, int, int, int]:
    """Number and wire type of the field that begins there, where its content begins, and where it ends."""
    tag, at = _varint(data, at)
    number, wire = tag >> 3, tag & 7
    if not 0 < number < 1 << 29:
        raise ValueError("no such field")
    if wire == 0:
        return number, wire, at, _varint(data, at)[1]
    if wire == 2:
        length, at = _varint(data, at)
        return number, wire, at, at + length
    return number, wire, at, at + {1: 8, 5: 4}.get(wire, len(data) + 1)  # groups, which ONNX has none of: too long


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
    raise ValueError("a number of more than ten bytes")
