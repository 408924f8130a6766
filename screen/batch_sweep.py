"""One film, one score: whatever the batch size, wherever in the batch."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from screen.agreement import probabilities
from screen.backends.base import Backend
from screen.model_card import ModelCard

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
FILMS = 3
"""A batch holds each of so many films many times over, and no multiple of them fills it."""


def batch_sweep(
    card: ModelCard,
    open_at: Callable[[int], Backend],
    squares: NDArray[np.uint8],
    logits: NDArray[np.float32],
    sizes: Sequence[int],
) -> tuple[float, list[str]]:
    """The first films at every batch size -> largest |Δp| to what `logits` say, complaints.

    open_at: a backend of that batch size; it raises BackendError by itself for NaN and infinity.
    squares: uint8 [M, S, S]; logits: [M, K], theirs in the reference. A film that stands in a batch several
    times must have the same logits, distance and gate each time, to the byte.
    """
    films, expected = squares[:FILMS], probabilities(card, logits[:FILMS])
    largest, complaints = 0.0, []
    for size in sizes:
        film = np.arange(size) % len(films)
        with open_at(size) as backend:
            found = backend.infer(np.ascontiguousarray(films[film, None]))
        for name in ("logits", "distance", "gate"):
            values = getattr(found, name)
            if (values != values[film]).any():
                complaints.append(f"batch {size}: '{name}' of one film depends on its place")
        apart = np.abs(probabilities(card, found.logits) - expected[film])
        largest = max(largest, float(apart.max()))
    return largest, complaints
