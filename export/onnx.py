"""One ONNX file from a checkpoint: graph, weights and everything that screening needs to know about them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from export.check_exported import check_parity, outputs_from_network
from export.graph import graph_from_network
from export.modelwriter import with_card, write_model
from export.network import HEATMAP_METHOD, ScreeningNetwork, network_from_checkpoint
from screen.backends import check_probes, open_backend
from screen.backends.probes import packed, probe_square, unpacked
from screen.errors import ModelError
from screen.film import Pixels
from screen.model import Model, Probe, card_from_json, model_from_bytes, weights_digest
from screen.model.card import SCHEMA
from screen.preprocess import PreprocessSpec, square_from_pixels

MAX_STORED_PROBES = 4
_FROM_CHECKPOINT = (
    "name", "version", "intended_use", "preprocess", "findings", "primary", "distance_quantiles",
    "gate_threshold", "training", "metrics",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exported:
    """A model that passed every check and was written."""

    model: Model
    certificate: dict[str, Any]


def export_onnx(checkpoint: Path, films: Sequence[Pixels], out: Path) -> Exported:
    """Write the model file of a calibrated checkpoint.

    films: real ones. The first few, scaled down, are stored in the file as probes, so they must be such as
    may be passed on; all of them are used to compare the file with the trained network.
    Raises ModelError, and leaves no file, if the checkpoint is not fit or if anything differs.
    """
    network, about = network_from_checkpoint(checkpoint)
    exported = model_from_network(network, about, films, out)
    write_model(out, exported.model.data)
    return exported


def model_from_network(
    network: ScreeningNetwork, about: dict[str, Any], films: Sequence[Pixels], path: Path
) -> Exported:
    """The model, checked and not yet written. about: a calibrated checkpoint's JSON. Raises ModelError."""
    missing = [name for name in _FROM_CHECKPOINT if name not in about]
    if missing:
        raise ModelError(f"the checkpoint's JSON lacks {', '.join(missing)}: run 'screen train calibrate'")
    if not films:
        raise ModelError("export needs a few real films to compare with: --probes DIR")
    try:
        spec = PreprocessSpec(**about["preprocess"])
    except (TypeError, ValueError) as error:
        raise ModelError(f"the checkpoint's preprocessing is not this version's: {error}") from error
    graph = graph_from_network(network, spec.size)
    onnx.checker.check_model(graph, full_check=True)
    bare = serialised(graph)

    def logits(squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        return outputs_from_network(network, squares).logits

    films_of_probes = [_small(px, spec) for px in films[:MAX_STORED_PROBES]]
    probes, bound = answered_probes(
        [Probe(v.shape[0], v.shape[1], packed(v), "", ()) for v in films_of_probes], spec, logits
    )
    grid = graph.graph.output[1].type.tensor_type.shape.dim
    card = card_from_json(
        json.dumps(
            {
                **{name: about[name] for name in _FROM_CHECKPOINT},
                "gate_certain": about.get("gate_certain"),
                "preprocess_digest": spec.digest(),
                "input_size": spec.size,
                "embedding_size": network.resnet.fc.in_features,
                "heatmap_method": HEATMAP_METHOD,
                "heatmap_grid": [grid[2].dim_value, grid[3].dim_value],
                "precision": "fp32",
                "probes": [asdict(probe) for probe in probes],
                "probe_logit_bound": bound,
                "weights_digest": weights_digest(bare, spec.digest()),
                "decode_policies": about.get("decode_policies", []),
                "certificates": [],
                "schema": SCHEMA,
            }
        )
    )
    draft = model_from_bytes(with_card(bare, card), path)
    squares = np.stack(
        [square_from_pixels(px, spec).values for px in films]
        + [unpacked(probe.square, (spec.size, spec.size)) for probe in probes]
    )
    certificate = check_parity(draft, network, squares)
    model = model_from_bytes(with_card(bare, replace(card, certificates=(certificate,))), path)
    with open_backend(model, "cpu", len(probes), threads=2) as backend:
        if check_probes(model, backend):
            raise ModelError("not written: its own probes drift on this machine")
    return Exported(model, certificate)


def answered_probes(
    films: Sequence[Probe],
    spec: PreprocessSpec,
    network: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
) -> tuple[list[Probe], float]:
    """The probes with squares and logits, and the bound: four times what noise of one grey level does.

    films: only their pixels are looked at. network: uint8 [M, S, S] -> logits [M, K].
    """
    squares = np.stack([probe_square(probe, spec) for probe in films])
    logits = network(squares)
    noise = np.random.default_rng(0).integers(-1, 2, (8, *squares.shape))
    shaken = np.clip(squares + noise, 0, 255).astype(np.uint8)
    moved = network(shaken.reshape(-1, *squares.shape[1:]))
    # Other processors and half precision round logits too.
    bound = max(0.01, 4 * float(np.abs(moved.reshape(-1, *logits.shape) - logits).max()))
    probes = [
        replace(probe, square=packed(square), logits=tuple(row.tolist()))
        for probe, square, row in zip(films, squares, logits, strict=True)
    ]
    return probes, bound


def _small(px: Pixels, spec: PreprocessSpec) -> NDArray[np.uint8]:
    """The film in 8 bits, its longer side at most 1.5 times the square's: small, and still to be resized."""
    grey = cv2.LUT(px.values, px.lookup)
    scale = min(1.0, 1.5 * spec.size / max(grey.shape))
    if scale < 1:
        height, width = (max(32, round(side * scale)) for side in grey.shape)
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    return (np.asarray(grey, np.uint16) >> 8).astype(np.uint8)


def serialised(model: onnx.ModelProto) -> bytes:
    """The same bytes for the same graph."""
    return bytes(model.SerializeToString(deterministic=True))
