"""int8 from a model file: static quantisation with films, u8 activations and s8 weights.

What is decided from stays float32: `distance`, `gate` and the head. Weights have 7 bits (`reduce_range`):
processors without VNNI add two products in 16 bits, which 8-bit weights overflow, silently (measured: the
gate then turns nearly every film away). With 7 bits the sums are exact, on all of them.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from export.graph import IR_VERSION, OPSET
from export.modelwriter import with_card
from export.onnx import answered_probes, serialised
from screen.backends import open_backend
from screen.certificates import REFERENCE_PRECISION
from screen.cpus import usable_cpus
from screen.errors import ModelError
from screen.modelfile import Model, model_from_bytes, weights_digest
from screen.probe import check_probes

MIN_FILMS = 256
"""Fewer do not show the range of every layer."""
_BATCH = 16
_FLOAT_PARTS = ("image", "embedding", "logits", "heatmap", "distance", "gate")
"""First words of the names of the nodes that are never quantised."""
_FLOAT_NODES = ("stem.", "layer1.")
"""Nor are these, by measurement: see docs/decisions.md."""
_GATE_FEATURES = "gate.features"
_NEEDED = {"head.bias", "distance.mean", "gate.mean"}


def int8_from_model(model: Model, squares: NDArray[np.uint8], films_digest: str, path: Path) -> Model:
    """The model in int8, checked and not yet written.

    squares: uint8 [M, S, S], which set the ranges; films_digest: says in the provenance which they were.
    Decision data are kept; certificates are not, they speak of the fp32 weights. path: for messages.
    Raises ModelError if the file is not an fp32 one of `screen export onnx`.
    """
    if model.card.precision != REFERENCE_PRECISION:
        raise ModelError(f"{model.path}: computes in {model.card.precision}: int8 is made from fp32")
    folded = _folded(model)
    lacking = _NEEDED - {tensor.name for tensor in folded.graph.initializer}
    if lacking or not any(_GATE_FEATURES in node.output for node in folded.graph.node):
        raise ModelError(f"{model.path}: not a graph that this version of 'screen export onnx' writes")
    quantised = _quantised(folded, squares)
    _undo_mean_shift(folded, quantised, squares)
    data = serialised(_plain(quantised))

    def logits(values: NDArray[np.uint8]) -> NDArray[np.float32]:
        return _run(data, ["logits"], values)[0]

    card = model.card
    probes, bound = answered_probes(card.probes, card.preprocess, logits)
    quantisation = {
        "weights_digest": card.weights_digest,
        "films": len(squares),
        "films_digest": films_digest,
        "tool": f"onnxruntime {ort.__version__}",
    }
    card = replace(
        card,
        precision="int8",
        probes=tuple(probes),
        probe_logit_bound=bound,
        weights_digest=weights_digest(data, card.preprocess_digest),
        decode_policies=(),
        certificates=(),
        training={**card.training, "quantised_from": quantisation},
    )
    made = model_from_bytes(with_card(data, card), path)
    with open_backend(made, "cpu", len(probes), usable_cpus()) as backend:
        if check_probes(made, backend):
            raise ModelError("not written: its own probes drift on this machine")
    return made


def _folded(model: Model) -> onnx.ModelProto:
    """The graph with constants folded and BatchNorm within the convolutions, in ONNX's own operators."""
    options = _options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        ort.InferenceSession(model.data, options, providers=["CPUExecutionProvider"])
        return _plain(onnx.load(options.optimized_model_filepath))


def _quantised(folded: onnx.ModelProto, squares: NDArray[np.uint8]) -> onnx.ModelProto:
    prepared = onnx.ModelProto()
    prepared.CopyFrom(folded)
    # Or it warns that the graph was not prepared.
    helper.set_model_props(prepared, {"onnx.quant.pre_process": "onnxruntime.quant"})
    names = [node.name for node in folded.graph.node]
    kept = [n for n in names if n.split(".")[0] in _FLOAT_PARTS or n.startswith(_FLOAT_NODES)]
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


class _Squares(CalibrationDataReader):  # type: ignore[misc]
    """Batches of squares, one after the other."""

    def __init__(self, squares: NDArray[np.uint8]) -> None:
        self._batches = _batches(squares)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}


def _undo_mean_shift(folded: onnx.ModelProto, quantised: onnx.ModelProto, squares: NDArray[np.uint8]) -> None:
    """Take the mean error of the features out of what is computed from them (Nagel et al., ICCV 2019).

    Rounding shifts every channel a little, always the same way; head, distance and gate are in float32 and
    can take the shift back, each in the one tensor that the features are added to.
    """
    wanted = ["embedding", _GATE_FEATURES, "logits"]
    before = _run(serialised(_with_output(folded, _GATE_FEATURES)), wanted, squares)
    after = _run(serialised(_with_output(quantised, _GATE_FEATURES)), wanted, squares)
    shifts = [(a.astype(np.float64) - b).mean(0) for a, b in zip(after, before, strict=True)]
    embedding, gate_features, logits = shifts
    # The logits are linear in the embedding: their mean error is the embedding's.
    for name, shift in (("head.bias", -logits), ("distance.mean", embedding), ("gate.mean", gate_features)):
        tensor = next(t for t in quantised.graph.initializer if t.name == name)
        corrected = numpy_helper.to_array(tensor).astype(np.float64) + shift
        tensor.CopyFrom(numpy_helper.from_array(corrected.astype(np.float32), name))


def _with_output(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    extended.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return extended


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
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


def _run(data: bytes, outputs: list[str], squares: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    session = ort.InferenceSession(data, _options(), providers=["CPUExecutionProvider"])
    parts = [session.run(outputs, {"image": batch}) for batch in _batches(squares)]
    return [np.concatenate(values) for values in zip(*parts, strict=True)]


def _batches(squares: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for first in range(0, len(squares), _BATCH):
        yield np.ascontiguousarray(squares[first : first + _BATCH, None])


def _options() -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = usable_cpus()
    return options
