"""From logits to probabilities: Platt's line, fitted on some films and judged on others; another prevalence.

Numbers only, no network: a site calibrates from its own `results.csv` with this.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from screen.errors import UsageError
from screen.evaluation.metrics import Floats, Weights
from screen.evaluation.operating_points import DEFAULT, operating_points
from screen.model import Finding, OperatingPoint


@dataclass(frozen=True, slots=True)
class Calibration:
    """What makes a verdict of a logit: one finding's keys in a decision file (`screen.decide.decision`)."""

    slope: float
    intercept: float
    prevalence: float
    operating_points: tuple[OperatingPoint, ...]
    default_operating_point: str

    @classmethod
    def of(cls, finding: Finding) -> "Calibration":
        """The model's own."""
        points, default = finding.operating_points, finding.default_operating_point
        return cls(finding.slope, finding.intercept, finding.prevalence, points, default)

    def probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of logits of any shape."""
        return sigmoid(self.slope * logits + self.intercept)

    def at(self, prevalence: float) -> "Calibration":
        """For another prevalence: probabilities move, thresholds with them, so the same films are flagged."""
        shift = prior_shift(self.prevalence, prevalence)
        return replace(
            self,
            intercept=self.intercept + shift,
            prevalence=prevalence,
            operating_points=tuple(
                replace(point, threshold=float(sigmoid(np.array(log_odds(point.threshold) + shift))))
                for point in self.operating_points
            ),
        )


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(−x)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))


def log_odds(p: float) -> float:
    """log(p / (1 − p)), 0 < p < 1."""
    return math.log(p) - math.log1p(-p)


def logistic_line(
    x: NDArray[np.float64], targets: NDArray[np.float64], weights: Weights
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slopes, intercepts [D] of the logistic regression of targets [N] (0 … 1) on x [N] (Newton's method)."""
    beta = np.zeros((len(weights), 2))
    for _ in range(50):
        # Beyond ±30 probabilities are 0 and 1 anyway, and a step could not come back.
        p = sigmoid(np.clip(beta[:, :1] * x + beta[:, 1:], -30, 30))
        curvature = weights * p * (1 - p)
        gradient = weights * (targets - p)
        g0, g1 = gradient @ x, gradient.sum(1)
        h00, h01, h11 = curvature @ x**2 + 1e-9, curvature @ x, curvature.sum(1) + 1e-9
        determinant = h00 * h11 - h01**2
        step = np.stack([h11 * g0 - h01 * g1, h00 * g1 - h01 * g0], 1) / determinant[:, None]
        beta += step
        if np.abs(step).max() < 1e-10:
            break
    return beta[:, 0], beta[:, 1]


def platt(logits: Floats, labels: Floats) -> tuple[float, float]:
    """Slope and intercept of the calibrated logit (Platt 1999, smoothed targets), by Newton's method.

    logits, labels: [N]. Raises UsageError without films of both kinds, or if the score falls with the
    finding.
    """
    positives, negatives = float((labels == 1).sum()), float((labels == 0).sum())
    if not positives or not negatives:
        raise UsageError("calibration needs films with and without the finding")
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, intercept = logistic_line(logits.astype(np.float64), targets, np.ones((1, len(logits))))
    if slope[0] <= 0:
        raise UsageError(
            "the score does not rise with the finding on the labelled films: 1 must mean that a film has it; "
            "if it does, this model cannot be calibrated on them"
        )
    return float(slope[0]), float(intercept[0])


def cross_fitted(logits: NDArray[np.float64], labels: Floats, folds: NDArray[np.str_]) -> NDArray[np.float64]:
    """Probabilities [N] of each fold's films by the line that the other folds' films give.

    logits, labels, folds: [N]. What calibration is worth is measured on these: no film helped to fit its own.
    Raises UsageError with fewer than two folds.
    """
    names = np.unique(folds)
    if len(names) < 2:
        raise UsageError("to measure a calibration takes predictions of two folds at least")
    probabilities = np.empty(len(logits))
    for name in names:
        here = folds == name
        slope, intercept = platt(logits[~here], labels[~here])
        probabilities[here] = sigmoid(slope * logits[here] + intercept)
    return probabilities


def calibration_line(
    probabilities: NDArray[np.float64], labels: Floats, weights: Weights
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slopes and intercepts [D] of the labels on the log odds of p: 1 and 0 if p is right (Cox 1958)."""
    safe = np.clip(probabilities, 1e-9, 1 - 1e-9)
    return logistic_line(np.log(safe) - np.log1p(-safe), labels.astype(np.float64), weights)


def prior_shift(prevalence: float, wanted: float) -> float:
    """What is added to the calibrated logit where the finding is rarer or more frequent (Saerens 2002).

    It is one number for all films, so it never reorders them. Right if films with the finding look alike
    there and here, and so do those without. Raises UsageError unless both are between 0 and 1.
    """
    if not 0 < wanted < 1:
        raise UsageError("--prevalence is the share of films with the finding: give a number between 0 and 1")
    if not 0 < prevalence < 1:
        raise UsageError("the prevalence that was calibrated at is not known: calibrate on labelled films")
    return log_odds(wanted) - log_odds(prevalence)


def calibrated(
    logits: NDArray[np.float64],
    labels: Floats,
    folds: NDArray[np.str_],
    patients: NDArray[np.str_],
    measured_on: str,
) -> Calibration:
    """Calibration and operating points from predictions of films that the networks did not learn from.

    logits, folds [S, N] of S seeds; labels, patients [N]; all rows fit one line, for one network will be
    used. Raises UsageError as `platt` does, and with fewer than two folds.
    """
    if any(len(np.unique(fold)) < 2 for fold in folds):
        raise UsageError("operating points are measured on other films than chose them: two folds are needed")
    slope, intercept = platt(logits.ravel(), np.tile(labels.astype(np.float64), len(logits)))
    points = tuple(
        replace(point, threshold=float(sigmoid(np.array(slope * point.threshold + intercept))))
        for point in operating_points(logits, labels, folds, patients, measured_on)
    )
    return Calibration(slope, intercept, float((labels == 1).mean()), points, DEFAULT)
