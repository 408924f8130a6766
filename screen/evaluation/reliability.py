"""Whether probabilities can be believed: figures of calibration, and what was seen where what was said."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from screen.evaluation.metrics import (
    Figure,
    Floats,
    Statistic,
    Weights,
    brier,
    brier_skill,
    calibration_error,
    centred_interval,
    figure_of,
    mean_over,
    over,
    rate_by_patient,
)
from screen.evaluation.platt import calibration_line

_BINS = 10


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """A tenth of the predictions: mean probability, share with the finding, Wilson's interval by patient."""

    probability: float
    observed: float
    interval: tuple[float, float]
    films: int


def calibration_figures(
    probabilities: Sequence[NDArray[np.float64]], labels: Floats, draws: Iterable[Weights]
) -> list[Figure]:
    """Error, Brier score and skill, slope and intercept; means over seeds.

    probabilities: [N] of each seed. labels: [N]. draws: parts [D, N], as `PatientDraws` has them.
    """

    def slope(p: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
        return calibration_line(p, labels, weights)[0]

    def intercept(p: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
        return calibration_line(p, labels, weights)[1]

    statistics: dict[str, Statistic] = {
        "calibration_error": mean_over([partial(calibration_error, p, labels) for p in probabilities]),
        "brier": mean_over([partial(brier, p, labels) for p in probabilities]),
        "brier_skill": mean_over([partial(brier_skill, p, labels) for p in probabilities]),
        "calibration_slope": mean_over([partial(slope, p) for p in probabilities]),
        "calibration_intercept": mean_over([partial(intercept, p) for p in probabilities]),
    }
    error, *others = (figure_of(name, statistic, labels, draws) for name, statistic in statistics.items())
    if not error.note:
        low, high = centred_interval(error.value, over(statistics[error.name], draws))
        error = replace(error, low=low, high=high)
    return [error, *others]


def reliability(
    probabilities: Sequence[NDArray[np.float64]], labels: Floats, patients: NDArray[np.str_]
) -> list[ReliabilityBin]:
    """Ten bins of equally many predictions, all seeds together; fewer if there are not so many."""
    seeds = len(probabilities)
    p, truth, who = np.concatenate(probabilities), np.tile(labels == 1, seeds), np.tile(patients, seeds)
    bins = []
    for part in np.array_split(np.argsort(p, kind="stable"), min(_BINS, len(p))):
        observed, bounds = rate_by_patient(truth[part], who[part])
        bins.append(ReliabilityBin(float(p[part].mean()), observed, bounds, len(part)))
    return bins
