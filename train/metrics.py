"""Figures of merit, and how far they can be trusted."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number with its 95 % interval, and on how many films (with the finding) it stands."""

    name: str
    value: float
    low: float
    high: float
    films: int
    positives: int


Floats = NDArray[np.float32] | NDArray[np.float64]


def _wins(scores: Floats, labels: Floats) -> tuple[float, int]:
    """Positive–negative pairs won (ties count half), and pairs in all."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    # Mid-ranks, so that ties count half (Hanley & McNeil 1982).
    starts = np.concatenate([[True], ranked[1:] != ranked[:-1]])
    group = np.cumsum(starts) - 1
    first = np.flatnonzero(starts)
    last = np.concatenate([first[1:], [len(ranked)]])
    ranks = ((first + last + 1) / 2)[group]
    positive = labels[order] == 1
    n_positive = int(positive.sum())
    wins = float(ranks[positive].sum()) - n_positive * (n_positive + 1) / 2
    return wins, n_positive * (len(scores) - n_positive)


def auc(scores: Floats, labels: Floats) -> float:
    """Area under the ROC curve of scores [N] for labels [N] of 0 and 1; NaN if one of them is missing."""
    wins, pairs = _wins(scores, labels)
    return wins / pairs if pairs else float("nan")


def within_source_auc(scores: Floats, labels: Floats, sources: NDArray[np.str_]) -> float:
    """The AUC over positive–negative pairs of films from one source, all such pairs pooled.

    A score that knows only the source gets .5, however well the source predicts the label.
    """
    total = np.zeros(2)
    for source in np.unique(sources):
        of_source = sources == source
        total += _wins(scores[of_source], labels[of_source])
    return float(total[0] / total[1]) if total[1] else float("nan")


def scorable(labels: Floats, sources: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Mask [N] of the labelled films (not NaN) from sources that have the finding at all.

    A source without one (children of another hospital, say) only adds negatives that its look gives away.
    """
    with_finding = np.unique(sources[labels == 1])
    return np.asarray(~np.isnan(labels) & np.isin(sources, with_finding))


def patient_bootstrap(
    patients: NDArray[np.str_],
    statistic: Callable[[NDArray[np.intp]], float],
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of `statistic(indices)` with patients, not films, drawn with replacement.

    Films of one patient resemble each other: drawing films would make the interval too narrow.
    """
    generator = np.random.default_rng(seed)
    _, inverse = np.unique(patients, return_inverse=True)
    films_of = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    values = [
        statistic(np.concatenate([films_of[i] for i in generator.integers(0, len(films_of), len(films_of))]))
        for _ in range(draws)
    ]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927); 0 … 1 without trials."""
    if trials == 0:
        return 0.0, 1.0
    z = 1.959964
    p = successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * np.sqrt(p * (1 - p) / trials + z * z / (4 * trials**2)) / (1 + z * z / trials)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
