"""int8 from a model file: static quantisation with films, u8 activations and s8 weights.

What is decided from stays float32: `distance`, `gate` and the head. Weights have 7 bits (`reduce_range`):
processors without VNNI add two products in 16 bits, which 8-bit weights overflow, silently (measured: the
gate then turns nearly every film away). With 7 bits the sums are exact, on all of them.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from export.derived import batches, derived_model, run_graph
from export.folding import folded, plain, session_options
from export.graph import IR_VERSION, OPSET
from export.onnx import serialised
from screen.errors import ModelError
from screen.model import Model
from screen.model.certificates import REFERENCE_PRECISION

PRECISION = "int8"
MIN_FILMS = 256
"""Fewer do not show the range of every layer."""
_LARGE = 16_384
"""Values from which on a tensor is worth storing small."""
_FLOAT_PARTS = ("image", "embedding", "logits", "heatmap", "distance", "gate")
"""First words of the names of the nodes that are never quantised."""
_FLOAT_NODES = ("stem.", "layer1.", "layer2.")
"""Nor are these, nor the sums of the residual stream, by measurement: see docs/decisions/int8.md."""
_NEEDED = {"head.bias", "distance.normal.mean", "gate.head.bias"}


def int8_from_model(model: Model, squares: NDArray[np.uint8], films_digest: str, path: Path) -> Model:
    """The model in int8, checked and not yet written.

    squares: uint8 [M, S, S], which set the ranges; films_digest: says in the provenance which they were.
    Decision data are kept; certificates are not, they speak of the fp32 weights. path: for messages.
    Raises ModelError if the file is not an fp32 one of `screen export onnx`.
    """
    if model.card.precision != REFERENCE_PRECISION:
        raise ModelError(f"{model.path}: computes in {model.card.precision}: int8 is made from fp32")
    graph = folded(onnx.ModelProto.FromString(model.data))
    if not {tensor.name for tensor in graph.graph.initializer} >= _NEEDED:
        raise ModelError(f"{model.path}: not a graph that this version of 'screen export onnx' writes")
    quantised = _quantised(graph, squares)
    _store_small(quantised)
    _undo_mean_shift(graph, quantised, squares)
    how = {"films": len(squares), "films_digest": films_digest}
    return derived_model(model, serialised(plain(quantised)), PRECISION, how, path)


def sum_bits() -> int:
    """How wide ONNX Runtime adds up products of u8 and s8 on this processor: 32, or 16, which overflow.

    Told by what it computes, not by what the processor is said to be.
    """
    depth, side, widest = 64, 32, 127
    weights = numpy_helper.from_array(np.full((depth, side), widest, np.int8), "weights")
    image = helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [side, depth])
    sums = helper.make_tensor_value_info("sums", onnx.TensorProto.INT32, [side, side])
    node = helper.make_node("MatMulInteger", ["image", "weights"], ["sums"])
    graph = helper.make_graph([node], "sums", [image], [sums], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    session = ort.InferenceSession(serialised(model), session_options(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["sums"], {"image": np.full((side, depth), 255, np.uint8)})
    return 32 if (found == depth * 255 * widest).all() else 16


def _quantised(graph: onnx.ModelProto, squares: NDArray[np.uint8]) -> onnx.ModelProto:
    prepared = onnx.ModelProto()
    prepared.CopyFrom(graph)
    # Or it warns that the graph was not prepared.
    helper.set_model_props(prepared, {"onnx.quant.pre_process": "onnxruntime.quant"})
    kept = [
        node.name
        for node in graph.graph.node
        if node.name.split(".")[0] in _FLOAT_PARTS
        or node.name.startswith(_FLOAT_NODES)
        or node.op_type == "Add"
    ]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        quantize_static(
            prepared,
            target,
            _Squares(squares),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            nodes_to_exclude=kept,
        )
        return onnx.load(target)


def _store_small(model: onnx.ModelProto) -> None:
    """What computes in float32 is stored as less, and made float32 by the graph.

    Weights of convolutions as 8 bits with a scale for each channel, other large tensors as fp16.
    """
    graph = model.graph
    convolved = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    made = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _LARGE:
            continue
        name, small, whole = tensor.name, f"{tensor.name}.small", f"{tensor.name}.float"
        if name in convolved:
            largest = np.abs(values).max(axis=(1, 2, 3), keepdims=True)
            scale = np.maximum(largest, 1e-30, dtype=np.float32) / 127
            tensor.CopyFrom(numpy_helper.from_array(np.rint(values / scale).astype(np.int8), small))
            graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
            # Not DequantizeLinear: runtimes compute these two once, when they load the file.
            made.append(helper.make_node("Cast", [small], [whole], whole, to=onnx.TensorProto.FLOAT))
            made.append(helper.make_node("Mul", [whole, f"{name}.scale"], [name], f"{name}.scaled"))
        else:
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), small))
            made.append(helper.make_node("Cast", [small], [name], whole, to=onnx.TensorProto.FLOAT))
    nodes = [*made, *(onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node)]
    del graph.node[:]
    graph.node.extend(nodes)


class _Squares(CalibrationDataReader):  # type: ignore[misc]
    """Batches of squares, one after the other."""

    def __init__(self, squares: NDArray[np.uint8]) -> None:
        self._batches = batches(squares)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}


def _undo_mean_shift(graph: onnx.ModelProto, quantised: onnx.ModelProto, squares: NDArray[np.uint8]) -> None:
    """Take the mean error of the logits out of the head's bias (Nagel et al., ICCV 2019).

    Rounding shifts every channel a little, always the same way. Distance and gate need none: all that they
    come from is in float32.
    """
    before, after = (run_graph(serialised(of), ["logits"], squares)[0] for of in (graph, quantised))
    shift = (before.astype(np.float64) - after).mean(0)
    bias = next(tensor for tensor in quantised.graph.initializer if tensor.name == "head.bias")
    corrected = numpy_helper.to_array(bias).astype(np.float64) + shift
    bias.CopyFrom(numpy_helper.from_array(corrected.astype(np.float32), "head.bias"))
