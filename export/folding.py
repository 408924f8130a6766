"""The exported graph as a runtime computes it: constants folded, BatchNorm within the convolutions."""

import tempfile
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from onnx import helper

from export.graph import IR_VERSION, OPSET
from screen.cpus import usable_cpus


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
