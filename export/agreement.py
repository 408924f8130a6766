"""Two ways to scores, compared on the same films."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from screen.backends import open_backend
from screen.batching import Batcher
from screen.certificates import Agreement
from screen.cpus import usable_cpus
from screen.model_card import ModelCard
from screen.modelfile import Model
from train.metrics import auc, scorable, within_source_auc

BATCH = 16


@dataclass(frozen=True, slots=True)
class Scores:
    """logits: float32 [N, K]; gate: float32 [N]."""

    logits: NDArray[np.float32]
    gate: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Labels:
    """values: float32 [N], 1 with the primary finding, 0 without, NaN unknown; sources: str [N]."""

    values: NDArray[np.float32]
    sources: NDArray[np.str_]


def scores_from_squares(model: Model, device: str, squares: Iterable[NDArray[np.uint8]]) -> Scores:
    """Each uint8 [S, S] through the model on `device`, in order. Raises what opening a backend raises."""
    found: list[tuple[NDArray[np.float32], np.float32]] = []
    with (
        open_backend(model, device, BATCH, usable_cpus()) as backend,
        Batcher[None](backend) as batcher,
    ):
        for square in squares:
            found += [(o.logits[row], o.gate[row]) for _, o, row in batcher.add(square, None)]
        found += [(o.logits[row], o.gate[row]) for _, o, row in batcher.flush()]
    return Scores(np.array([f[0] for f in found], np.float32), np.array([f[1] for f in found], np.float32))


def agreement(card: ModelCard, first: Scores, second: Scores, labels: Labels) -> Agreement:
    """How far `second` is from `first`, on one film or more; AUC changes are 0 where nothing is labelled."""
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
    gates = (first.gate > card.gate_threshold) != (second.gate > card.gate_threshold)
    measurable = scorable(labels.values, labels.sources)
    primary = [finding.name for finding in card.findings].index(card.primary)
    values, sources = labels.values[measurable], labels.sources[measurable]
    before, after = first.logits[measurable, primary], second.logits[measurable, primary]
    within = pooled = 0.0
    if measurable.any():
        within = within_source_auc(after, values, sources) - within_source_auc(before, values, sources)
        pooled = auc(after, values) - auc(before, values)
    return Agreement(
        films=len(apart),
        mean_probability_difference=_figure(np.abs(other - one).mean()),
        max_probability_difference=_figure(np.abs(other - one).max()),
        mean_logit_difference=_figure(apart.mean()),
        max_logit_difference=_figure(apart.max()),
        flips=flips,
        farthest_flip=_figure(farthest),
        gate_changes=int(gates.sum()),
        labelled=int(measurable.sum()),
        auc_within_source_change=_figure(within),
        auc_pooled_change=_figure(pooled),
    )


def probabilities(card: ModelCard, logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Calibrated: logits [N, K] -> [N, K]."""
    slopes = np.array([finding.slope for finding in card.findings])
    intercepts = np.array([finding.intercept for finding in card.findings])
    return np.asarray(1 / (1 + np.exp(-(slopes * logits.astype(np.float64) + intercepts))))


def _figure(value: float) -> float:
    """Three digits: what follows them is another machine's rounding."""
    return float(f"{float(value):.3g}")
