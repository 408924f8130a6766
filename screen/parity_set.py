"""Squares that an engine is compared on, where it runs."""

import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from screen.errors import ModelError
from screen.modelfile import Model
from screen.probe import unpacked

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
