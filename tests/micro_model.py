"""A model file of a few kilobytes that fulfils the contract without a network worth the name."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from screen.backends.probes import packed, probe_square
from screen.model import Model, Probe, model_from_bytes, weights_digest
from screen.model.card import METADATA_KEY
from screen.preprocess import PreprocessSpec

SIZE = 32


def micro_graph() -> onnx.ModelProto:
    """Every output is the mean grey or made of it."""
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "factor"], ["grey"]),
        helper.make_node("AveragePool", ["grey"], ["heatmap"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("ReduceMean", ["heatmap"], ["logits"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["logits", "one"], ["embedding"]),
        helper.make_node("ReduceMean", ["embedding"], ["distance"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["distance", "one"], ["gate"]),
    ]
    shapes = {"logits": [1], "heatmap": [1, 2, 2], "embedding": [1], "distance": [], "gate": []}
    graph = helper.make_graph(
        nodes,
        "micro",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", *s]) for n, s in shapes.items()],
        [
            numpy_helper.from_array(np.array(1 / 255, np.float32), "factor"),
            numpy_helper.from_array(np.array(1, np.float32), "one"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def micro_card() -> dict[str, Any]:
    """The card as plain JSON, without `weights_digest`."""
    spec = PreprocessSpec(size=SIZE)
    film = np.add.outer(np.arange(48), 2 * np.arange(40)).astype(np.uint8)
    empty = Probe(48, 40, packed(film), "", ())
    square = probe_square(empty, spec)
    point = {
        "name": "balanced",
        "threshold": 0.5,
        "sensitivity": 0.8,
        "sensitivity_interval": [0.7, 0.9],
        "specificity": 0.7,
        "specificity_interval": [0.6, 0.8],
        "measured_on": "nothing",
    }
    finding = {
        "name": "tumor",
        "slope": 1.0,
        "intercept": 0.0,
        "prevalence": 0.1,
        "operating_points": [point],
        "default_operating_point": "balanced",
        "heatmap_scale": [0.0, 1.0],
    }
    return {
        "name": "micro",
        "version": "1",
        "intended_use": "For tests only.",
        "preprocess": {
            "size": SIZE,
            "low_percentile": spec.low_percentile,
            "high_percentile": spec.high_percentile,
            "clahe_clip": spec.clahe_clip,
            "clahe_tiles": spec.clahe_tiles,
            "version": 1,
        },
        "preprocess_digest": spec.digest(),
        "findings": [finding],
        "primary": "tumor",
        "input_size": SIZE,
        "embedding_size": 1,
        "heatmap_method": "mean grey",
        "heatmap_grid": [2, 2],
        "precision": "fp32",
        "distance_quantiles": [float(i) for i in range(101)],
        "gate_threshold": 0.0,
        "probes": [
            {
                "height": 48,
                "width": 40,
                "values": packed(film),
                "square": packed(square),
                "logits": [float(square.mean() / 255)],
            }
        ],
        "probe_logit_bound": 1e-3,
        "decode_policies": [],
        "certificates": [],
        "training": {},
        "metrics": {},
        "schema": "1.0",
    }


def micro_bytes(
    change_card: Callable[[dict[str, Any]], None] = lambda card: None,
    change_graph: Callable[[onnx.ModelProto], None] = lambda graph: None,
) -> bytes:
    """The file; `weights_digest` fits the changed graph, so that only the change itself can be at fault."""
    graph = micro_graph()
    change_graph(graph)
    card = micro_card()
    card["weights_digest"] = weights_digest(graph.SerializeToString(), PreprocessSpec(size=SIZE).digest())
    change_card(card)
    helper.set_model_props(graph, {METADATA_KEY: json.dumps(card)})
    return bytes(graph.SerializeToString())


def micro_model() -> Model:
    return model_from_bytes(micro_bytes(), Path("micro.onnx"))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
