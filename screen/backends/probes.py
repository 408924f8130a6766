"""Does this machine make of known films what the exporting machine made of them?"""

import zlib
from base64 import b64decode, b64encode

import numpy as np
from numpy.typing import NDArray

from screen.backends.base import Backend
from screen.errors import ModelError
from screen.film import Pixels
from screen.model import Model, Probe
from screen.preprocess import PreprocessSpec, square_from_pixels

_TO_16_BITS = (np.arange(256) * 257).astype(np.uint16)


def check_probes(model: Model, backend: Backend) -> bool:
    """True if preprocessing drifts here: squares differ by one grey level, logits stay within the bound.

    False if the squares are equal to the byte and the logits within the bound (another processor or batch
    size rounds logits otherwise: that is no drift). Promises of byte-equal results hold without drift only.
    Raises ModelError beyond either bound, or if a probe is broken.
    """
    card = model.card
    squares = np.stack([probe_square(probe, card.preprocess) for probe in card.probes])
    recorded = np.stack([unpacked(probe.square, squares.shape[1:]) for probe in card.probes])
    difference = int(np.abs(squares.astype(np.int16) - recorded).max())
    if difference > 1:
        raise ModelError(
            f"{model.path}: preprocessing here differs by {difference} grey levels from where the model was "
            "exported: install the versions in constraints.txt (OpenCV above all)"
        )
    logits = _logits(squares, backend)
    apart = float(np.abs(logits - np.array([probe.logits for probe in card.probes])).max())
    if not apart <= card.probe_logit_bound:
        raise ModelError(
            f"{model.path}: {backend.device.provider} computes logits that differ by {apart:.3g} from those "
            f"that the model was exported with (bound {card.probe_logit_bound:.3g}): use another --device"
        )
    return difference > 0


def probe_square(probe: Probe, spec: PreprocessSpec) -> NDArray[np.uint8]:
    """uint8 [S, S]: what this machine makes of the probe's film. Raises ModelError if the probe is broken."""
    values = unpacked(probe.values, (probe.height, probe.width))
    return square_from_pixels(Pixels(values, _TO_16_BITS), spec).values


def packed(values: NDArray[np.uint8]) -> str:
    """uint8 array -> base64 of zlib, as probes are stored."""
    return b64encode(zlib.compress(values.tobytes(), 9)).decode()


def unpacked(text: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """What `packed` packed, and no more than fits the shape. Raises ModelError if it is something else."""
    size = int(np.prod(shape))
    try:
        # One byte more than fits shows that there is more.
        data = zlib.decompressobj().decompress(b64decode(text, validate=True), size + 1)
    except (ValueError, zlib.error):
        data = b""
    if len(data) != size:
        raise ModelError(f"metadata: a probe's pixels are not {' × '.join(map(str, shape))} bytes")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _logits(squares: NDArray[np.uint8], backend: Backend) -> NDArray[np.float32]:
    """uint8 [P, S, S] -> [P, K], in batches of the backend's size, the last one padded."""
    parts = []
    for first in range(0, len(squares), backend.batch_size):
        some = squares[first : first + backend.batch_size]
        batch = np.zeros((backend.batch_size, 1, backend.size, backend.size), np.uint8)
        batch[: len(some), 0] = some
        parts.append(backend.infer(batch).logits[: len(some)])
    return np.concatenate(parts)
