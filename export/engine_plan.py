"""What is in a built engine: in which type each layer computes, for which GPUs, for which batches.

TensorRT-RTX compiles kernels where the engine runs, so its file holds the program in words: read here,
without GPU or driver (its own inspector needs both). The words are documented nowhere: what cannot be found
raises. TensorRT describes its engines only after it has loaded them.
"""

import json
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from screen.errors import EngineError

_PROGRAM = re.compile(rb"header \{\n  version = \d+\n[^\0]*")
_TARGETS = re.compile(r"^  accelerators=\{([^}]*)\}", re.M)
_TENSOR = re.compile(r'^  tensor=\{ [^\n]*?name="([^"]+)"[^\n]* type=(\w+) \}$', re.M)
_PRODUCT = re.compile(
    r'^  (?:corrltn|fully_connected)=\{ [^\n]*?output=\{"([^"]+)" \} input=\{"([^"]+)" "([^"]+)"[^\n]*?'
    r' layers="([^"]*)"',
    re.M,
)
_ONNX_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_BETWEEN = 64
"""Bytes at most between the shapes of one profile: lengths and marks."""


@dataclass(frozen=True, slots=True)
class Plan:
    """layers: the type that convolutions and matrix products compute in, by the names of the ONNX nodes in
    them: `half`, `float`, or `mixed` if what comes in, what goes out and the weights differ.

    targets: compute capabilities, `sm89` ….
    """

    layers: dict[str, str]
    targets: frozenset[str]


def plan_from_rtx(data: bytes) -> Plan:
    """The plan in an engine of TensorRT-RTX. Raises EngineError if none can be read."""
    layers: dict[str, str] = {}
    targets: set[str] = set()
    for program in _PROGRAM.findall(data):
        words = program.decode("latin-1")
        types = dict(_TENSOR.findall(words))
        for found in _TARGETS.findall(words):
            targets |= set(found.split())
        for output, image, weights, nodes in _PRODUCT.findall(words):
            touched = {types.get(name, "unknown") for name in (output, image, weights)}
            layers |= dict.fromkeys(
                _ONNX_NODE.findall(nodes), touched.pop() if len(touched) == 1 else "mixed"
            )
    if not layers:
        raise EngineError("the engine does not show its layers: another version of TensorRT-RTX?")
    return Plan(layers, frozenset(targets - {"*"}))


def layers_from_report(report: str) -> dict[str, str]:
    """What TensorRT's inspector says of a loaded engine, like `Plan.layers`; empty if it names no ONNX nodes.

    report: JSON of an engine that was built with detailed verbosity. All kinds of layers are in it.
    """
    layers: dict[str, str] = {}
    for layer in json.loads(report)["Layers"]:
        if not isinstance(layer, dict):
            continue
        formats = [tensor["Format/Datatype"] for tensor in layer.get("Outputs", [])]
        halves = {"half" if re.search("half|fp16", text, re.I) else "float" for text in formats}
        if halves:
            nodes = _ONNX_NODE.findall(layer.get("Metadata", ""))
            layers |= dict.fromkeys(nodes, halves.pop() if len(halves) == 1 else "mixed")
    return layers


def has_profile(data: bytes, shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether an engine of TensorRT-RTX holds a profile with these shapes, smallest, best and largest."""
    packed = [re.escape(struct.pack(f"<{len(shape)}q", *shape)) for shape in shapes]
    return re.search((b".{0,%d}?" % _BETWEEN).join(packed), data, re.DOTALL) is not None
