"""fp16 within the graph, for runtimes that compute in what the file says (TensorRT is strongly typed).

The residual network computes in half: weights, biases and activations. What stands before and behind it stays
in float32: standardisation, pooling, head, heat map, distance and gate, so that what is decided from is
rounded once, at the features, and log(mean(exp(heatmap))) + bias = logit holds as it does in fp32.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.derived import derived_model
from export.folding import folded
from export.onnx import serialised
from screen.errors import ModelError
from screen.model import Model
from screen.model.certificates import REFERENCE_PRECISION

PRECISION = "fp16"
_HALF_PARTS = ("stem", "layer1", "layer2", "layer3", "layer4")
"""First words of the names of the nodes that compute in half."""
_LARGEST = float(np.finfo(np.float16).max)


def half_from_model(model: Model, path: Path) -> Model:
    """The model in fp16, checked against its probes and not yet written; certificates are not kept.

    path: for messages. Raises ModelError if the file is not an fp32 one of `screen export onnx`.
    """
    if model.card.precision != REFERENCE_PRECISION:
        raise ModelError(f"{model.path}: computes in {model.card.precision}: fp16 is made from fp32")
    try:
        graph = half_model(onnx.ModelProto.FromString(model.data))
    except ValueError as error:
        raise ModelError(f"{model.path}: {error}") from error
    return derived_model(model, serialised(graph), PRECISION, {}, path)


def half_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph of `export.graph` with its residual network in fp16; metadata are left out.

    Inputs and outputs stay what they are: image uint8, all others float32.
    Raises ValueError for another graph, and for weights that fp16 cannot hold.
    """
    made = folded(model)
    graph = made.graph
    inside = [node for node in graph.node if _is_half(node)]
    if {node.name.split(".")[0] for node in inside} != set(_HALF_PARTS):
        raise ValueError("not a graph that this version of 'screen export onnx' writes")
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for name in dict.fromkeys(name for node in inside for name in node.input if name in weights):
        weights[name].CopyFrom(_half(weights[name]))
    outside = [node for node in graph.node if not _is_half(node)]
    into = _crossing(outside, inside)
    out_of = _crossing(inside, outside)
    for node in inside:
        _rename(node, into, "half")
    for node in outside:
        _rename(node, out_of, "float")
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes.append(node)
        for name in node.output:
            if name in into:
                nodes.append(_cast(name, "half", TensorProto.FLOAT16))
            if name in out_of:
                nodes.append(_cast(name, "float", TensorProto.FLOAT))
    ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(ordered)
    onnx.checker.check_model(made, full_check=True)
    return made


def computes_in_half(name: str) -> bool:
    """Whether the node of that name does, in a graph that `half_model` made."""
    return name.split(".", maxsplit=1)[0] in _HALF_PARTS


def _is_half(node: onnx.NodeProto) -> bool:
    return computes_in_half(node.name)


def _crossing(makers: Iterable[onnx.NodeProto], users: Iterable[onnx.NodeProto]) -> set[str]:
    """Values that one part makes and the other uses."""
    made = {name for node in makers for name in node.output}
    return made & {name for node in users for name in node.input}


def _rename(node: onnx.NodeProto, names: set[str], suffix: str) -> None:
    for index, name in enumerate(node.input):
        if name in names:
            node.input[index] = f"{name}.{suffix}"


def _cast(name: str, suffix: str, to: int) -> onnx.NodeProto:
    output = f"{name}.{suffix}"
    return helper.make_node("Cast", [name], [output], output, to=to)


def _half(tensor: onnx.TensorProto) -> onnx.TensorProto:
    values = numpy_helper.to_array(tensor)
    if not np.abs(values).max(initial=0) <= _LARGEST:
        raise ValueError(f"'{tensor.name}' does not fit into fp16")
    return numpy_helper.from_array(values.astype(np.float16), tensor.name)
