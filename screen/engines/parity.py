"""Whether an engine scores as its model does, found out on the GPU that it is to run on.

It is compared on the squares that the package ships. Two builds of one command can differ, and TensorRT-RTX
compiles kernels where the engine runs: a certificate speaks of one engine, by the digest of its bytes, on one
kind of GPU with one driver and one library.
"""

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen import __version__
from screen.backends import Backend, open_backend
from screen.backends.agreement import BATCH_SIZES, agreement, batch_sweep, figure, scores_from_backend
from screen.backends.probes import unpacked
from screen.errors import EngineError, ModelError
from screen.gpus import Gpu
from screen.machine import usable_cpus
from screen.model import Agreement, Bounds, Manifest, Model, ModelCard, VerifiedEngine
from screen.model.certificates import FP16_BOUNDS, Kind

_MAX_SQUARES = 4096


def parity_squares(model: Model) -> NDArray[np.uint8]:
    """uint8 [N, S, S]: the package's set if it is of the model's preprocessing, else the model's own probes.

    Raises ModelError if the set is broken.
    """
    card = model.card
    path = _shipped_set()
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as stored:
                digest, squares = str(stored["preprocess_digest"]), stored["squares"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ModelError(f"{path}: no parity set; install the package again") from error
        if digest == card.preprocess_digest:
            return _checked(squares, card.input_size, path)
    size = (card.input_size, card.input_size)
    return np.stack([unpacked(probe.square, size) for probe in card.probes])


def _shipped_set() -> Path:
    """npz: `squares` uint8 [N, S, S], `preprocess_digest`."""
    return Path(str(resources.files("screen"))) / "models" / "parity.npz"


def _checked(squares: NDArray[np.uint8], size: int, path: Path) -> NDArray[np.uint8]:
    if squares.dtype != np.uint8 or squares.shape[1:] != (size, size) or not 0 < len(squares) <= _MAX_SQUARES:
        raise ModelError(f"{path}: {squares.dtype} {squares.shape} is no parity set of this model")
    return squares


_REFERENCE_BATCH = 16


@dataclass(frozen=True, slots=True)
class Place:
    """What a certificate is bound to beside the engine. gpu: its name; library: with its version."""

    gpu: str
    driver: str
    library: str


def engine_certificate(
    card: ModelCard,
    manifest: Manifest,
    place: Place,
    squares: NDArray[np.uint8],
    reference: Backend,
    open_at: Callable[[int], Backend],
    bounds: Bounds = FP16_BOUNDS,
) -> dict[str, Any]:
    """The certificate. squares: uint8 [N, S, S]. reference: the model file, by ONNX Runtime on the CPU.

    open_at: the engine with that batch size; it raises BackendError for NaN and infinity.
    Raises EngineError that names what is beyond the bounds.
    """
    smallest, best, largest = manifest.profile
    expected = scores_from_backend(reference, squares)
    with open_at(best) as backend:
        found = agreement(card, expected, scores_from_backend(backend, squares))
    sizes = [size for size in BATCH_SIZES if smallest <= size <= largest]
    apart, complaints = batch_sweep(card, open_at, squares, expected.logits, sizes)
    # Films at other batch sizes are films: the same bound holds for them.
    most = max(found.max_probability_difference, figure(apart))
    found = replace(found, max_probability_difference=most)
    complaints = [*bounds.complaints(found), *complaints]
    if complaints:
        said = "; ".join(complaints)
        raise EngineError(f"not used: the engine does not score as its model does on {place.gpu}: {said}")
    return {
        "kind": Kind.ENGINE.value,
        "weights_digest": manifest.weights_digest,
        "engine_digest": manifest.engine_digest,
        "gpu": place.gpu,
        "driver": place.driver,
        "runtime": place.library,
        "agreement": found.to_plain(),
        "bounds": bounds.to_plain(),
        "batch_sizes": sizes,
        "squares_digest": hashlib.sha256(squares.tobytes()).hexdigest(),
        "versions": {"cxr-screen": __version__},
    }


def twin_agreement(twin: Model, reference: Model) -> Agreement:
    """A model and the fp32 one that it was made from, by ONNX Runtime on this CPU, over `parity_squares`.

    Raises ModelError beyond the bounds of its certificate. Most of these squares stand at a threshold, where
    verdicts flip and probabilities are steep: flips have no bound here, the mean difference twice its own.
    """
    squares, cpus = parity_squares(reference), usable_cpus()
    scores = []
    for model in (reference, twin):
        with open_backend(model, "cpu", _REFERENCE_BATCH, cpus) as backend:
            scores.append(scores_from_backend(backend, squares))
    found = agreement(reference.card, *scores)
    bounds = _certified_bounds(twin)
    bounds = replace(bounds, flips=1.0, mean_probability_difference=2 * bounds.mean_probability_difference)
    complaints = bounds.complaints(found)
    if complaints:
        raise ModelError(
            f"{twin.path}: does not score here as the model that it was made from: {'; '.join(complaints)}: "
            "do not use it on this machine"
        )
    return found


def _certified_bounds(twin: Model) -> Bounds:
    entry = next(entry for entry in twin.card.certificates if entry["kind"] == Kind.PRECISION)
    try:
        return Bounds(**{name: float(value) for name, value in entry["bounds"].items()})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{twin.path}: its certificate names no bounds") from error


def certificate_on(model: Model, engine: VerifiedEngine, gpu: Gpu, place: Place) -> dict[str, Any]:
    """The engine's certificate on a GPU of this machine, over `parity_squares`.

    Raises EngineError, and what opening a backend raises.
    """
    cpus = usable_cpus()

    def open_at(size: int) -> Backend:
        return open_backend(model, f"tensorrt:{gpu.index}", size, cpus, engine)

    with open_backend(model, "cpu", _REFERENCE_BATCH, cpus) as reference:
        squares = parity_squares(model)
        return engine_certificate(model.card, engine.manifest, place, squares, reference, open_at)


def speaks_of(certificate: Mapping[str, Any] | None, manifest: Manifest, place: Place) -> bool:
    """Whether the engine was certified, here or on the same kind of machine."""
    return certificate is not None and (
        certificate.get("engine_digest"),
        certificate.get("gpu"),
        certificate.get("driver"),
        certificate.get("runtime"),
    ) == (manifest.engine_digest, place.gpu, place.driver, place.library)
