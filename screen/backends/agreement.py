"""Two ways to scores, compared on the same films; and one film, one score, wherever it lies in a batch.

What labels add to the comparison is `export.certify`'s.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from screen.backends.base import Backend
from screen.backends.batching import Batcher
from screen.model import Agreement, ModelCard


@dataclass(frozen=True, slots=True)
class Scores:
    """logits: float32 [N, K]; gate: float32 [N]."""

    logits: NDArray[np.float32]
    gate: NDArray[np.float32]


def scores_from_backend(backend: Backend, squares: Iterable[NDArray[np.uint8]]) -> Scores:
    """Each uint8 [S, S] through an opened model, in order."""
    found: list[tuple[NDArray[np.float32], np.float32]] = []
    with Batcher[None](backend) as batcher:
        for square in squares:
            found += [(o.logits[row], o.gate[row]) for _, o, row in batcher.add(square, None)]
        found += [(o.logits[row], o.gate[row]) for _, o, row in batcher.flush()]
    return Scores(np.array([f[0] for f in found], np.float32), np.array([f[1] for f in found], np.float32))


def agreement(card: ModelCard, first: Scores, second: Scores) -> Agreement:
    """How far `second` is from `first`, on one film or more; of AUC nothing is known."""
    apart = np.abs(second.logits.astype(np.float64) - first.logits)
    one, other = probabilities(card, first.logits), probabilities(card, second.logits)
    flips: dict[str, int] = {}
    farthest = 0.0
    for index, finding in enumerate(card.findings):
        for point in finding.operating_points:
            flipped = (one[:, index] >= point.threshold) != (other[:, index] >= point.threshold)
            flips[f"{finding.name}.{point.name}"] = int(flipped.sum())
            margins = np.abs(one[flipped, index] - point.threshold)
            farthest = max(farthest, float(margins.max(initial=0)))
    return Agreement(
        films=len(apart),
        mean_probability_difference=figure(np.abs(other - one).mean()),
        max_probability_difference=figure(np.abs(other - one).max()),
        mean_logit_difference=figure(apart.mean()),
        max_logit_difference=figure(apart.max()),
        flips=flips,
        farthest_flip=figure(farthest),
        gate_changes=int((answers(card, first.gate) != answers(card, second.gate)).sum()),
        labelled=0,
        auc_within_source_change=0.0,
        auc_pooled_change=0.0,
    )


def answers(card: ModelCard, gate: NDArray[np.float32]) -> NDArray[np.int8]:
    """The gate's, [N] -> [N]: 0 clearly no chest film, 1 doubtful, 2 clearly one."""
    certain = card.gate_threshold if card.gate_certain is None else card.gate_certain
    kept = gate > card.gate_threshold
    return np.where(kept, 1 + (gate > certain), 0).astype(np.int8)


def probabilities(card: ModelCard, logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Calibrated: logits [N, K] -> [N, K]."""
    slopes = np.array([finding.slope for finding in card.findings])
    intercepts = np.array([finding.intercept for finding in card.findings])
    return np.asarray(1 / (1 + np.exp(-(slopes * logits.astype(np.float64) + intercepts))))


def figure(value: float) -> float:
    """Three digits: what follows them is another machine's rounding."""
    return float(f"{float(value):.3g}")


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
