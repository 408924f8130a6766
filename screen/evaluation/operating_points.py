"""Thresholds by what they are for, and what they turned out to be worth on films that did not choose them."""

import numpy as np
from numpy.typing import NDArray

from screen.errors import UsageError
from screen.evaluation.metrics import Floats, rate_by_patient
from screen.model import OperatingPoint

SENSITIVITIES = {"sensitive_95": 0.95, "sensitive": 0.9}
SPECIFICITIES = {"specific": 0.9, "specific_95": 0.95}
DEFAULT = "balanced"
"""Equal shares of films with and without the finding are called rightly.

The only one of them that weighs missed and false findings about equally: who reads every film anyway, and who
reads flagged ones alone, can both start from it. With scores as modest as these nine of ten found would flag
most of a night.
"""


def thresholds(scores: Floats, labels: Floats) -> dict[str, float]:
    """Name -> threshold on scores [N] (flagged: score >= threshold), in rising order of what they demand.

    `sensitive` is the highest threshold that flags nine of ten films with the finding, `specific` the lowest
    that passes nine of ten without, `…_95` likewise for 95 %; at `balanced` both shares are as equal as they
    get. A threshold lies halfway between two scores, so that rounding cannot turn a verdict. Raises
    UsageError without films of both kinds.
    """
    if len(np.unique(labels)) < 2:
        raise UsageError("operating points need films with and without the finding in every fold")
    positive, negative = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    candidates = np.unique(scores).astype(np.float64)
    cuts = np.concatenate([[candidates[0] - 1], (candidates[1:] + candidates[:-1]) / 2, [candidates[-1] + 1]])
    sensitivity = 1 - np.searchsorted(positive, cuts) / len(positive)
    specificity = np.searchsorted(negative, cuts) / len(negative)
    slack = 1e-12
    found = {
        name: cuts[np.flatnonzero(sensitivity >= share - slack)[-1]] for name, share in SENSITIVITIES.items()
    }
    found[DEFAULT] = cuts[np.argmin(np.abs(sensitivity - specificity))]
    found |= {
        name: cuts[np.flatnonzero(specificity >= share - slack)[0]] for name, share in SPECIFICITIES.items()
    }
    return {name: float(cut) for name, cut in found.items()}


def operating_points(
    logits: NDArray[np.float64],
    labels: Floats,
    folds: NDArray[np.str_],
    patients: NDArray[np.str_],
    measured_on: str,
) -> list[OperatingPoint]:
    """Every point, its `threshold` still on the logit, from the most sensitive to the most specific.

    logits [S, N] of S seeds and N films, folds [S, N]. The thresholds come from all of them. What they are
    worth is measured on each fold at the thresholds of the others, per film, seeds averaged; 95 % intervals
    are Wilson's with patients as trials.
    """
    overall = thresholds(logits.ravel(), np.tile(labels.astype(np.float64), len(logits)))
    flagged = {name: np.zeros(logits.shape, np.bool_) for name in overall}
    for seed, (scores, fold) in enumerate(zip(logits, folds, strict=True)):
        for name in np.unique(fold):
            here = fold == name
            for point, cut in thresholds(scores[~here], labels[~here]).items():
                flagged[point][seed, here] = scores[here] >= cut
    return [
        measured(name, cut, flagged[name].mean(0), labels, patients, measured_on)
        for name, cut in overall.items()
    ]


def measured(
    name: str,
    threshold: float,
    flagged: Floats,
    labels: Floats,
    patients: NDArray[np.str_],
    measured_on: str,
) -> OperatingPoint:
    """The point with rates per film, Wilson's intervals by patient. flagged: [N], 0 … 1 (share of seeds)."""
    positive, negative = labels == 1, labels == 0
    sensitivity = rate_by_patient(flagged[positive], patients[positive])
    specificity = rate_by_patient(1 - flagged[negative], patients[negative])
    return OperatingPoint(name, threshold, *sensitivity, *specificity, measured_on)
