"""A model file in another precision: the same decisions, probes answered anew, provenance kept."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export.folding import session_options
from export.modelwriter import with_card
from export.onnx import answered_probes
from screen.backends import check_probes, open_backend
from screen.errors import ModelError
from screen.machine import usable_cpus
from screen.model import Model, model_from_bytes, weights_digest

DERIVED_FROM = "derived_from"
"""Entry of the card's `training` that names the fp32 file."""
_BATCH = 16


def derived_model(model: Model, data: bytes, precision: str, how: dict[str, Any], path: Path) -> Model:
    """The model with another graph, checked against its probes and not yet written.

    data: the graph's file, without metadata; how: beside the source's weights digest, for the provenance.
    Decision data are kept; certificates are not, they speak of the fp32 weights. path: for messages.
    """
    card = model.card

    def logits(squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        return run_graph(data, ["logits"], squares)[0]

    probes, bound = answered_probes(card.probes, card.preprocess, logits)
    source = {
        "weights_digest": card.weights_digest,
        **how,
        "tool": f"onnxruntime {ort.__version__}",
    }
    card = replace(
        card,
        # Reports name the model alone.
        name=f"{card.name}-{precision}",
        precision=precision,
        probes=tuple(probes),
        probe_logit_bound=bound,
        weights_digest=weights_digest(data, card.preprocess_digest),
        decode_policies=(),
        certificates=(),
        training={**card.training, DERIVED_FROM: source},
    )
    made = model_from_bytes(with_card(data, card), path)
    with open_backend(made, "cpu", len(probes), usable_cpus()) as backend:
        if check_probes(made, backend):
            raise ModelError("not written: its own probes drift on this machine")
    return made


def run_graph(data: bytes, outputs: list[str], squares: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """uint8 [M, S, S] through an ONNX file on the CPU -> the named outputs, [M, …] each."""
    session = ort.InferenceSession(data, session_options(), providers=["CPUExecutionProvider"])
    parts = [session.run(outputs, {"image": batch}) for batch in batches(squares)]
    return [np.concatenate(values) for values in zip(*parts, strict=True)]


def batches(squares: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """uint8 [M, S, S] -> [N, 1, S, S], in order."""
    for first in range(0, len(squares), _BATCH):
        yield np.ascontiguousarray(squares[first : first + _BATCH, None])
