"""Is the exported file the trained network? Nothing that differs is written."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.network import NetworkOutputs, ScreeningNetwork
from screen.backends import Outputs, open_backend
from screen.errors import ModelError
from screen.model import Model

BATCH_SIZES = (1, 2, 5, 16)
_REPEATED = 8
"""Films that fill a batch by themselves: whether the last bit hangs on the place hangs on the film."""
BOUND = 1e-4
"""Largest difference, relative to the output's largest value or 1: rounding leaves about 1e-6."""


def check_parity(model: Model, network: ScreeningNetwork, squares: NDArray[np.uint8]) -> dict[str, Any]:
    """ONNX Runtime against torch on uint8 [M, S, S], at several batch sizes -> the card's certificate.

    Also: the same film gives the same row wherever it stands in a batch, to the byte, and the mean of the
    heat map plus the bias is the logit. Raises ModelError, naming the output, if anything differs.
    """
    reference = outputs_from_network(network, squares)
    largest = dict.fromkeys(NetworkOutputs._fields, 0.0)
    for size in BATCH_SIZES:
        with open_backend(model, "cpu", size, threads=2) as backend:
            for first in range(0, len(squares), size):
                # The last batch is filled up from the front.
                rows = np.arange(first, first + size) % len(squares)
                found = backend.infer(np.ascontiguousarray(squares[rows, None]))
                for name in NetworkOutputs._fields:
                    expected = getattr(reference, name)
                    apart = np.abs(getattr(found, name) - expected[rows]).max() / max(
                        1, np.abs(expected).max()
                    )
                    if not apart <= BOUND:
                        raise ModelError(
                            f"not written: '{name}' differs from the trained network by {apart:.2g} of its "
                            f"range at batch size {size} (bound {BOUND:g})"
                        )
                    largest[name] = max(largest[name], float(apart))
                _check_heatmap(found, network.resnet.fc.bias.numpy())
            for film in squares[:_REPEATED]:
                same = backend.infer(np.repeat(film[None, None], size, axis=0))
                for name in NetworkOutputs._fields:
                    values = getattr(same, name)
                    if (values != values[:1]).any():
                        raise ModelError(
                            f"not written: '{name}' of one film depends on its place in a batch of {size}"
                        )
            runtime = backend.device.runtime
    return {
        "kind": "export_parity",
        "reference": f"torch {torch.__version__}, fp32",
        "runtime": f"{runtime}, CPU",
        "films": len(squares),
        "batch_sizes": list(BATCH_SIZES),
        "bound": BOUND,
        "largest_relative_difference": {name: float(f"{value:.2g}") for name, value in largest.items()},
    }


@torch.inference_mode()
def outputs_from_network(network: ScreeningNetwork, squares: NDArray[np.uint8]) -> Outputs:
    """uint8 [M, S, S] -> what the trained network says of each, by torch."""
    parts = [
        network(torch.from_numpy(np.ascontiguousarray(squares[i : i + 16, None])))
        for i in range(0, len(squares), 16)
    ]
    return Outputs(*(torch.cat(values).numpy() for values in zip(*parts, strict=True)))


def _check_heatmap(found: Outputs, bias: NDArray[np.float32]) -> None:
    """The head pools what single cells say: log(mean(exp(heatmap))) + bias = logit."""
    again = np.log(np.exp(found.heatmap.astype(np.float64)).mean((2, 3))) + bias
    apart = np.abs(again - found.logits).max() / max(1, np.abs(found.logits).max())
    if not apart <= BOUND:
        raise ModelError(
            f"not written: the heat map's log-mean-exp plus the bias is not the logit (off by {apart:.2g})"
        )
