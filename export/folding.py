"""The exported graph as a runtime computes it: constants folded, BatchNorm within the convolutions.

For Turing (sm75), matrix products as sums: TensorRT-RTX has no float32 product there. Distance and gate stay
in float32 that way. Product and sum are fused: nothing large lies in between.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from export.graph import IR_VERSION, OPSET
from screen.machine import usable_cpus


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """In ONNX's own operators, all in fp32; nodes keep their names. Metadata are left out."""
    options = session_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return plain(onnx.load(options.optimized_model_filepath))


def plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what the runtime put beside the graph: foreign operator sets, its name, shapes within."""
    graph = onnx.GraphProto()
    graph.CopyFrom(model.graph)
    del graph.value_info[:]
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="cxr-screen",
    )


def session_options() -> Any:
    """For sessions of our own beside the backends: all processors, errors only."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = usable_cpus()
    return options


def without_matrix_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every x @ W with constant W as ReduceSum(x · Wᵀ): the same values but for rounding."""
    made: onnx.ModelProto = onnx.ModelProto.FromString(model.SerializeToString())
    graph = made.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes += _as_sum(node, weights, graph) if node.op_type in ("MatMul", "Gemm") else [node]
    ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(ordered)
    onnx.checker.check_model(made, full_check=True)
    return made


def _as_sum(
    node: onnx.NodeProto, weights: dict[str, onnx.TensorProto], graph: onnx.GraphProto
) -> list[onnx.NodeProto]:
    x, w, *bias = node.input
    values = numpy_helper.to_array(weights[w])
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    name = node.name
    if values.ndim == 1:
        return _as_one_sum(node, x, w, graph)
    rows = np.ascontiguousarray(values if transposed else values.T)[None]
    constants = {f"{name}.rows": rows, f"{name}.axis": np.array([1]), f"{name}.last": np.array([2])}
    graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in constants.items())
    total = f"{name}.sum" if bias else node.output[0]

    wide, terms = f"{name}.wide", f"{name}.terms"
    steps = [
        helper.make_node("Unsqueeze", [x, f"{name}.axis"], [wide], wide),
        helper.make_node("Mul", [wide, f"{name}.rows"], [terms], terms),
        helper.make_node("ReduceSum", [terms, f"{name}.last"], [total], total, keepdims=0),
    ]
    if bias:
        steps.append(helper.make_node("Add", [total, *bias], [node.output[0]], name))
    return steps


def _as_one_sum(node: onnx.NodeProto, x: str, w: str, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """X [N, D] @ w [D] -> [N]."""
    axis, terms = f"{node.name}.axis", f"{node.name}.terms"
    graph.initializer.append(numpy_helper.from_array(np.array([1]), axis))
    return [
        helper.make_node("Mul", [x, w], [terms], terms),
        helper.make_node("ReduceSum", [terms, axis], [node.output[0]], node.name, keepdims=0),
    ]
