"""Figures of merit, and how far they can be trusted.

Every statistic takes weights [D, N]: how often each of N films is drawn in each of D samples. Ones give the
figure itself, `patient_draws` its spread, and the same draws for two recipes give their paired difference.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from screen.decide.rates import wilson

Floats = NDArray[np.float32] | NDArray[np.float64]
Weights = NDArray[np.float64]
"""[D, N], whole numbers from 0."""
Statistic = Callable[[Weights], NDArray[np.float64]]
"""Weights [D, N] -> values [D]; NaN where a sample cannot be measured."""

DRAWS = 1000
_CELLS = 4_000_000
"""Weights at a time: statistics take some times as much memory."""
FEW = 10
"""Fewer films than this with or without the finding make no figure."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number with its 95 % interval, and on how many films (with the finding) it stands.

    group: the slice of films that it is about, empty for all. note: why there is no number (then NaN).
    """

    name: str
    value: float
    low: float
    high: float
    films: int
    positives: int
    group: str = ""
    note: str = ""

    def __str__(self) -> str:
        """`auc_pooled: 0.612 [0.551, 0.673] (742 films, 98 positive)`."""
        if self.note:
            return f"{self.name}: {self.note}"
        return (
            f"{self.name}: {self.value:.3f} [{self.low:.3f}, {self.high:.3f}] "
            f"({self.films} films, {self.positives} positive)"
        )


def auc(scores: Floats, labels: Floats) -> float:
    """Area under the ROC curve of scores [N] for labels [N] of 0 and 1; NaN if one of them is missing."""
    return within_source_auc(scores, labels, np.zeros(len(scores), np.intp))


def within_source_auc(scores: Floats, labels: Floats, sources: NDArray[np.str_] | NDArray[np.intp]) -> float:
    """The AUC over positive–negative pairs of films from one source, all such pairs pooled.

    A score that knows only the source gets .5, however well the source predicts the label.
    """
    return float(within_group_auc(scores, labels, sources, np.ones((1, len(scores))))[0])


def within_group_auc(
    scores: Floats, labels: Floats, groups: NDArray[np.str_] | NDArray[np.intp], weights: Weights
) -> NDArray[np.float64]:
    """Share [D] of a group's pairs (with, without the finding) that scores order rightly; ties count half.

    scores, labels, groups: [N]. NaN for a sample without such a pair (Hanley & McNeil 1982).
    """
    if not len(scores):
        return np.full(len(weights), np.nan)
    _, codes = np.unique(groups, return_inverse=True)
    order = np.lexsort((scores, codes))
    codes, ranked, label = codes[order], scores[order], labels[order]
    new_group = np.concatenate([[True], codes[1:] != codes[:-1]])
    new_block = new_group | np.concatenate([[True], ranked[1:] != ranked[:-1]])
    blocks, groups_at = np.flatnonzero(new_block), np.flatnonzero(new_group)
    drawn = weights[:, order]
    positive = np.add.reduceat(drawn * (label == 1), blocks, axis=1)
    negative = np.add.reduceat(drawn * (label == 0), blocks, axis=1)
    # Of each block of ties: the negatives before it in its group, and half of its own.
    before = np.cumsum(negative, axis=1) - negative
    group_blocks = np.searchsorted(blocks, groups_at)
    group_of_block = np.cumsum(new_group[blocks]) - 1
    below = before - before[:, group_blocks][:, group_of_block] + negative / 2
    wins = (positive * below).sum(1)
    pairs = (
        np.add.reduceat(positive, group_blocks, axis=1) * np.add.reduceat(negative, group_blocks, axis=1)
    ).sum(1)
    return np.where(pairs > 0, wins / np.maximum(pairs, 1), np.nan)


def sensitivity_at_specificity(
    scores: Floats, labels: Floats, specificity: float, weights: Weights
) -> NDArray[np.float64]:
    """The largest sensitivity [D] of any threshold that passes that share of films without the finding."""
    order = np.argsort(-scores, kind="stable")
    ranked, label, drawn = scores[order], labels[order], weights[:, order]
    last_of_block = np.append(ranked[1:] != ranked[:-1], True)
    hits = np.cumsum(drawn * (label == 1), axis=1)
    alarms = np.cumsum(drawn * (label == 0), axis=1)
    allowed = (1 - specificity) * alarms[:, -1:] + 1e-9
    reachable = np.where(last_of_block & (alarms <= allowed), hits, 0).max(1)
    return np.where((hits[:, -1] > 0) & (alarms[:, -1] > 0), reachable / np.maximum(hits[:, -1], 1), np.nan)


def average_precision(scores: Floats, labels: Floats, weights: Weights) -> NDArray[np.float64]:
    """Mean precision [D] over the films with the finding, each at its own score as threshold."""
    order = np.argsort(-scores, kind="stable")
    ranked, label, drawn = scores[order], labels[order], weights[:, order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    hits = np.cumsum(drawn * (label == 1), axis=1)[:, last]
    films = np.cumsum(drawn, axis=1)[:, last]
    gained = np.diff(hits, axis=1, prepend=0)
    total = hits[:, -1]
    precision = hits / np.maximum(films, 1)
    return np.where(total > 0, (gained * precision).sum(1) / np.maximum(total, 1), np.nan)


def calibration_error(
    probabilities: Floats, labels: Floats, weights: Weights, bins: int = 10
) -> NDArray[np.float64]:
    """Expected calibration error [D] over bins of equal mass (Naeini et al., AAAI 2015).

    It cannot be negative, so chance alone makes it positive, and more so in drawn samples: take
    `centred_interval`.
    """
    order = np.argsort(probabilities, kind="stable")
    drawn = weights[:, order]
    excess = drawn * (probabilities[order].astype(np.float64) - labels[order])
    total = drawn.sum(1)
    place = np.cumsum(drawn, axis=1) - drawn / 2
    bin_of = np.minimum(place * (bins / total[:, None]), bins - 1).astype(np.intp)
    return sum(
        (np.abs((excess * (bin_of == index)).sum(1)) / total for index in range(bins)),
        start=np.zeros(len(weights)),
    )


def brier(probabilities: Floats, labels: Floats, weights: Weights) -> NDArray[np.float64]:
    """Mean squared error [D] of the probabilities (Brier 1950)."""
    error = (probabilities.astype(np.float64) - labels) ** 2
    return np.asarray(weights @ error / weights.sum(1))


def brier_skill(probabilities: Floats, labels: Floats, weights: Weights) -> NDArray[np.float64]:
    """1 − Brier score over that of always saying the prevalence [D]: above 0 beats knowing nothing."""
    prevalence = weights @ (labels == 1) / weights.sum(1)
    idle = prevalence * (1 - prevalence)
    return np.where(idle > 0, 1 - brier(probabilities, labels, weights) / np.where(idle > 0, idle, 1), np.nan)


@dataclass(frozen=True, slots=True)
class PatientDraws:
    """Weights of samples that draw patients [N], not films, with replacement; a few samples at a time.

    Films of one patient resemble each other: drawing films would make intervals too narrow. Can be read more
    than once, and gives the same.
    """

    patients: NDArray[np.str_]
    draws: int = DRAWS
    seed: int = 0

    def __iter__(self) -> Iterator[Weights]:
        """Weights [some, N], `draws` of them in all."""
        if not len(self.patients):
            return
        _, patient_of = np.unique(self.patients, return_inverse=True)
        count = int(patient_of.max()) + 1
        generator, chance = np.random.default_rng(self.seed), np.full(count, 1 / count)
        step = max(1, _CELLS // len(self.patients))
        for first in range(0, self.draws, step):
            drawn = generator.multinomial(count, chance, min(step, self.draws - first))
            yield drawn[:, patient_of].astype(np.float64)


def patient_draws(patients: NDArray[np.str_], draws: int = DRAWS, seed: int = 0) -> Weights:
    """All of `PatientDraws` at once: [draws, N]."""
    return np.concatenate(list(PatientDraws(patients, draws, seed)))


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile interval of a statistic's values over draws; NaN, NaN if none of them is a number."""
    if np.isnan(values).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def centred_interval(value: float, values: NDArray[np.float64]) -> tuple[float, float]:
    """`interval` moved so that the draws' median lies on the value; from 0.

    For a statistic that drawing makes larger by itself: its percentiles may all lie above what was measured.
    """
    low, high = interval(values - np.nanmedian(values) + value)
    return max(0.0, low), max(0.0, high)


def over(statistic: Statistic, draws: Iterable[Weights]) -> NDArray[np.float64]:
    """The statistic's values of all samples."""
    return np.concatenate([statistic(part) for part in draws])


def figure_of(
    name: str, statistic: Statistic, labels: Floats, draws: Iterable[Weights], group: str = ""
) -> Figure:
    """The statistic of films with `labels` [N], its interval over `draws`; a note instead if they are few.

    draws: parts [D, N] of samples, as `PatientDraws` has them.
    """
    films, positives = len(labels), int((labels == 1).sum())
    if min(positives, films - positives) < FEW:
        note = f"too few: {positives} with, {films - positives} without"
        nan = float("nan")
        return Figure(name, nan, nan, nan, films, positives, group, note)
    value = float(statistic(np.ones((1, films)))[0])
    return Figure(name, value, *interval(over(statistic, draws)), films, positives, group)


def patient_bootstrap(
    patients: NDArray[np.str_],
    statistic: Callable[[NDArray[np.intp]], float],
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of `statistic(indices)` over `patient_draws`, for what takes no weights."""
    films = np.arange(len(patients))
    drawn = patient_draws(patients, draws, seed).astype(np.intp)
    return interval(np.array([statistic(np.repeat(films, times)) for times in drawn]))


def mean_over(statistics: Sequence[Statistic]) -> Statistic:
    """The mean of several statistics of the same films: of one recipe's seeds, say."""
    return lambda weights: np.asarray(np.mean([statistic(weights) for statistic in statistics], axis=0))


def rate_by_patient(
    hits: Floats | NDArray[np.bool_], patients: NDArray[np.str_]
) -> tuple[float, tuple[float, float]]:
    """Mean of hits [N] (0 … 1) over films, and Wilson's interval with as many trials as there are patients.

    Films of one patient count as one trial: wider than they need be where those differ, never too narrow.
    """
    if not len(hits):
        return 0.0, (0.0, 1.0)
    rate = float(np.mean(hits))
    trials = len(np.unique(patients))
    return rate, wilson(rate * trials, trials)
