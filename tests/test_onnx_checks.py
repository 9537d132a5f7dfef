"""What an ONNX file may not ask for is found in its bytes, wherever it hides, before onnxruntime sees it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

from understudy.classifier import open_session
from understudy.errors import ArtifactError
from understudy.onnx_checks import check_onnx

FLOAT = TensorProto.FLOAT
EXTERNAL = "f is not opened: it keeps weights in another file (external data)"
NEXT = "; take the artifact from its maker again, or export it"


def node(*attributes: onnx.AttributeProto, domain: str = "") -> NodeProto:
    made = helper.make_node("Neg", ["x"], ["y"], domain=domain)
    made.attribute.extend(attributes)
    return made


def model(*nodes: NodeProto, weights: tuple[TensorProto, ...] = ()) -> ModelProto:
    ends = [[helper.make_tensor_value_info(name, FLOAT, [1])] for name in "xy"]
    graph = helper.make_graph(list(nodes) or [node()], "g", *ends, initializer=weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def inside(*nodes: NodeProto) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "inner", [], [])


def weight(*, external: bool = False) -> TensorProto:
    tensor = numpy_helper.from_array(np.ones(3, np.float32), "w")
    if external:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../secret")
    return tensor


def located(value: int) -> TensorProto:
    """A tensor that only says where its data are."""
    return TensorProto.FromString(weight().SerializeToString() + bytes([14 << 3, value]))


def entries_alone() -> TensorProto:
    tensor = weight()
    tensor.external_data.add(key="location", value="elsewhere")
    return tensor


def refusal(content: bytes) -> str:
    with pytest.raises(ArtifactError) as error:
        check_onnx(content, "f")
    assert str(error.value).endswith(NEXT)
    assert "\n" not in str(error.value)
    return str(error.value).removesuffix(NEXT)


def test_what_we_write_passes(finished_run: Path) -> None:
    files = sorted(finished_run.rglob("model.onnx"))
    assert len(files) > 9
    for file in files:
        check_onnx(file.read_bytes(), file)


def sparse(tensor: TensorProto) -> SparseTensorProto:
    return SparseTensorProto(values=tensor, dims=[3])


def with_sparse(tensor: TensorProto) -> ModelProto:
    made = model()
    made.graph.sparse_initializer.append(sparse(tensor))
    return made


def with_function(body: NodeProto, domain: str = "") -> ModelProto:
    made = model()
    made.functions.add(name="F", domain=domain, node=[body])
    return made


def with_training(graph: onnx.GraphProto) -> ModelProto:
    made = model()
    made.training_info.add(algorithm=graph)
    return made


HIDDEN: dict[str, Callable[[TensorProto], ModelProto]] = {
    "an initializer": lambda t: model(weights=(weight(), t)),
    "a constant": lambda t: model(node(helper.make_attribute("value", t))),
    "one of several": lambda t: model(node(helper.make_attribute("values", [weight(), t]))),
    "a branch": lambda t: model(node(helper.make_attribute("then", model(weights=(t,)).graph))),
    "a branch of a branch": lambda t: model(
        node(
            helper.make_attribute("a", [inside(), inside(node(helper.make_attribute("b", model(weights=(t,)).graph)))])
        )
    ),
    "a sparse initializer": with_sparse,
    "a sparse attribute": lambda t: model(node(helper.make_attribute("s", sparse(t)))),
    "a function": lambda t: with_function(node(helper.make_attribute("value", t))),
    "a training graph": lambda t: with_training(model(weights=(t,)).graph),
}


@pytest.mark.parametrize("place", HIDDEN)
def test_external_data_is_found_wherever_it_hides(place: str) -> None:
    for bad in (weight(external=True), located(1), located(2), entries_alone()):
        assert refusal(HIDDEN[place](bad).SerializeToString()) == EXTERNAL
    check_onnx(HIDDEN[place](weight()).SerializeToString(), "f")


def imported(domain: str) -> ModelProto:
    made = model()
    made.opset_import.append(helper.make_opsetid(domain, 1))
    return made


NAMED: dict[str, Callable[[str], ModelProto]] = {
    "a node": lambda domain: model(node(), node(domain=domain)),
    "a node of a branch": lambda domain: model(node(helper.make_attribute("a", inside(node(domain=domain))))),
    "a node of a function": lambda domain: with_function(node(domain=domain)),
    "a function": lambda domain: with_function(node(), domain),
    "an import": imported,
}


@pytest.mark.parametrize("place", NAMED)
def test_foreign_domains_are_found_wherever_they_hide(place: str) -> None:
    for domain in ("com.evil", "com.microsoft", "ai.onnx.ml", "ai.onnx2"):
        said = f"f is not opened: it uses operators of the domain {domain!r}"
        assert refusal(NAMED[place](domain).SerializeToString()) == said
    for domain in ("", "ai.onnx"):
        check_onnx(NAMED[place](domain).SerializeToString(), "f")
    assert len(refusal(NAMED[place]("x" * 10_000).SerializeToString())) < 150


def test_a_session_is_opened_of_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "InferenceSession", lambda *given, **named: pytest.fail("onnxruntime saw it"))
    (tmp_path / "model.onnx").write_bytes(model(node(domain="com.evil")).SerializeToString())
    for given_as in (tmp_path / "model.onnx", (tmp_path / "model.onnx").read_bytes()):
        with pytest.raises(ArtifactError, match=r"operators of the domain 'com\.evil'"):
            open_session(given_as)


def test_onnxruntimes_own_format_is_no_way_around(tmp_path: Path) -> None:
    """It is told by four bytes, which protobuf takes for fields to skip."""
    disguised = b"\x1d\x00\x00\x00ORTM" + b"\x00" * 64
    with pytest.raises(ArtifactError):
        open_session(disguised)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(model().SerializeToString(), options)
    content = (tmp_path / "model.ort").read_bytes()
    ort.InferenceSession(content)  # alone it would be taken
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch, pytest.raises(ArtifactError, match="cannot be run"):
        patch.setattr("understudy.classifier.check_onnx", lambda content, name: None)
        open_session(content)


WHOLE = model(node(helper.make_attribute("value", weight())), weights=(weight(),)).SerializeToString()
JUNK = "f is not opened: it is not an ONNX file, or not a whole one"


@pytest.mark.parametrize(
    "content",
    [
        b"junk", b"\x00", b"\xff" * 40, b"\x08", b"\x08" + b"\x80" * 11 + b"\x00", b"\x3a\x7f\x00", b"\x3b\x3c",
        b"\x3e\x00", b"\x39\x00", b"\x3d\x00", b"\xba\x80\x80\x80\x80\x10\x00", WHOLE[:-1], WHOLE[: len(WHOLE) // 2],
        b"\x3a\x02\x0a\x05" + b"\x00" * 9,  # a node that is longer than its graph, not than the file
    ],
)  # fmt: skip
def test_what_is_no_protobuf_is_one_line(content: bytes) -> None:
    assert refusal(content) == JUNK


def test_an_empty_file_has_no_graph() -> None:
    assert refusal(b"") == refusal(b"\x08\x07") == "f is not opened: it holds no graph"


@settings(max_examples=300, deadline=1000)
@given(st.binary(max_size=400))
@example(WHOLE)
def test_any_bytes_pass_or_are_refused_in_one_line(content: bytes) -> None:
    try:
        check_onnx(content, "f")
    except ArtifactError as error:
        assert "\n" not in str(error)


@settings(max_examples=300, deadline=1000)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=4))
def test_what_passes_after_damage_has_no_external_data_for_protobuf_either(changes: list[tuple[int, int]]) -> None:
    """What protobuf reads and we let through is never what it would refuse."""
    content = bytearray(model(weights=(weight(external=True),)).SerializeToString())
    for place, value in changes:
        content[place % len(content)] = value
    try:
        read = ModelProto.FromString(bytes(content))
    except Exception:
        return
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in read.graph.initializer):
        assert refusal(bytes(content))


def test_it_takes_no_longer_than_its_graph() -> None:
    big = weight()
    big.raw_data = bytes(90_000_000)
    content = model(weights=(big,)).SerializeToString()
    begun = time.perf_counter()
    check_onnx(content, "f")
    assert time.perf_counter() - begun < 0.05


@pytest.mark.parametrize("content", [b"\x08\x01" * 40_000_000, b"\x3a\x00" * 40_000_000])
def test_a_file_that_is_made_to_take_long_is_refused(content: bytes) -> None:
    begun = time.perf_counter()
    assert refusal(content) == "f is not opened: it has more than 1,000,000 parts"
    assert time.perf_counter() - begun < 20


def held(tag: int, content: bytes) -> bytes:
    """A field that holds bytes."""
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([tag]) + length + bytes([size]) + content


def test_depth_is_no_way_to_break_it() -> None:
    content = held(0x3A, b"com.evil")
    for _ in range(1_000):  # a node of a graph of an attribute of a node …
        content = held(0x2A, held(0x32, held(0x0A, content)))
    assert refusal(held(0x3A, held(0x0A, content))) == "f is not opened: it uses operators of the domain 'com.evil'"
