"""The bounded reader of model files, against the onnx package and against crafted bytes."""

import contextlib
import tracemalloc
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from screen.model import onnx_file
from screen.model.onnx_file import (
    Reader,
    Structure,
    TensorInfo,
    WireError,
    fields_but_metadata,
    structure_from_bytes,
)


def small_model() -> onnx.ModelProto:
    """A graph with weights, an attribute tensor, a free and a fixed dimension, and metadata."""
    weight = numpy_helper.from_array(np.arange(4, dtype=np.float16).reshape(2, 2), "w.half")
    shift = numpy_helper.from_array(np.ones(2, np.float32), "shift")
    nodes = [
        helper.make_node("Cast", ["w.half"], ["w"], to=TensorProto.FLOAT),
        helper.make_node("Constant", [], ["c"], value=shift),
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("Add", ["xw", "c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"a": "1", "b": "ü"})
    return model


SMALL = small_model().SerializeToString()


def test_reads_what_the_onnx_package_wrote() -> None:
    assert structure_from_bytes(SMALL) == Structure(
        ir_version=8,
        opsets={"": 17},
        metadata={"a": "1", "b": "ü"},
        inputs={"x": TensorInfo(TensorProto.FLOAT, ("N", 2))},
        outputs={"y": TensorInfo(TensorProto.FLOAT, ("", 2))},
        operators={"Cast", "Constant", "MatMul", "Add"},
        domains={""},
        initializers=1,
    )


def test_fields_but_metadata_are_the_model_without_its_metadata() -> None:
    bare = small_model()
    del bare.metadata_props[:]
    assert b"".join(fields_but_metadata(SMALL)) == bare.SerializeToString()


def with_if(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=branch, else_branch=branch))


def with_function(model: onnx.ModelProto) -> None:
    function = helper.make_function("", "Mine", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [])
    model.functions.append(function)


def with_external_initializer(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def with_external_attribute(model: onnx.ModelProto) -> None:
    model.graph.node[1].attribute[0].t.data_location = TensorProto.EXTERNAL


def with_sparse_initializer(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add().dims.append(2)


def with_a_tensor_larger_than_its_data(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 1 << 40


def with_metadata_twice(model: onnx.ModelProto) -> None:
    model.metadata_props.add(key="a", value="2")


def with_training(model: onnx.ModelProto) -> None:
    model.training_info.add()


def without_graph(model: onnx.ModelProto) -> None:
    model.ClearField("graph")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_if, "graph of its own"),
        (with_function, "functions"),
        (with_training, "training"),
        (with_external_initializer, "outside the file"),
        (with_external_attribute, "outside the file"),
        (with_sparse_initializer, "sparse"),
        (with_a_tensor_larger_than_its_data, "more values than it holds"),
        (with_metadata_twice, "twice"),
        (without_graph, "no graph"),
    ],
)
def test_refuses_what_screening_never_needs(change: Callable[[onnx.ModelProto], None], said: str) -> None:
    model = small_model()
    change(model)
    with pytest.raises(WireError, match=said):
        structure_from_bytes(model.SerializeToString())


def test_a_second_graph_cannot_hide_behind_the_first() -> None:
    """Protobuf merges them, so a runtime would run both."""
    with pytest.raises(WireError, match="twice"):
        structure_from_bytes(SMALL + field(7, small_model().graph.SerializeToString()))


def test_the_external_flag_cannot_hide_in_high_bits() -> None:
    """A runtime cuts the enumeration to 32 bits: 2³² + 1 is EXTERNAL to it."""
    flag = varint(14 << 3) + varint((1 << 32) + 1)
    graph = field(7, field(5, flag))
    with pytest.raises(WireError, match="outside the file"):
        structure_from_bytes(graph)


def test_names_the_domains_of_operators() -> None:
    model = small_model()
    model.graph.node.append(helper.make_node("Evil", ["x"], ["z"], domain="com.example"))
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    structure = structure_from_bytes(model.SerializeToString())
    assert structure.domains == {"", "com.example"}
    assert structure.opsets == {"": 17, "com.example": 1}


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x80" * 11, "longer than 64 bits"),
        (b"\x08\x80", "cut short"),
        (b"\x3a" + varint(1 << 62), "cut short"),
        (b"\x09\x00", "cut short"),
        (b"\x0b", "wire type 3"),
        (b"\x00\x01", "field number 0"),
        (b"\x0a\x01x", "another type"),
        (field(14, field(1, b"\xff")), "not UTF-8"),
        (field(7, field(5, field(1, b"\x01" * 5000))), "more integers"),
        (field(7, field(5, field(1, b"\x01" * 4000))), "more dimensions"),
    ],
)
def test_crafted_bytes_are_named(data: bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        structure_from_bytes(data)


def test_signed_integers() -> None:
    minus_one = b"\x08" + varint((1 << 64) - 1)
    assert next(Reader(1).fields(memoryview(minus_one))).integer() == -1


def test_work_and_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million empty nodes in 2 MB: refused after the budget, nothing piled up."""
    monkeypatch.setattr(onnx_file, "_MAX_FIELDS", 10_000)
    bomb = field(7, b"\x0a\x00" * 1_000_000)
    tracemalloc.start()
    with pytest.raises(WireError, match="more fields"):
        structure_from_bytes(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_every_truncation_is_refused_or_harmless() -> None:
    for length in range(len(SMALL)):
        try:
            structure_from_bytes(SMALL[:length])
        except WireError:
            continue


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_mutations_end_in_a_structure_or_a_wire_error(data: st.DataObject) -> None:
    mutated = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        mutated[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    with contextlib.suppress(WireError):
        structure_from_bytes(bytes(mutated))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_structure_or_a_wire_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        structure_from_bytes(data)
