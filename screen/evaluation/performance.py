"""What a run's scores are worth on films with labels: every figure once, for tables, JSON and page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen.evaluation.labels import Labelled
from screen.evaluation.metrics import (
    Figure,
    PatientDraws,
    Statistic,
    average_precision,
    figure_of,
    rate_by_patient,
    sensitivity_at_specificity,
    within_group_auc,
)
from screen.evaluation.reliability import ReliabilityBin, calibration_figures, reliability
from screen.evaluation.results import Results

AS_FLAGGED = "as flagged"
"""The row of rates that goes by the column `flagged`: what the run itself decided."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of films, its 95 % interval (Wilson's, patients as trials), and what it is a share of."""

    value: float
    interval: tuple[float, float]
    hits: int
    films: int


@dataclass(frozen=True, slots=True)
class PointRates:
    """What a threshold did. threshold: None for `AS_FLAGGED`.

    ppv, npv: of these films; they follow the share of films with the finding. promised_…: what the model's
    card, or the decision file, says of sensitivity and specificity there.
    """

    name: str
    threshold: float | None
    sensitivity: Rate
    specificity: Rate
    ppv: Rate
    npv: Rate
    promised_sensitivity: float | None = None
    promised_specificity: float | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """Points in the order of falling thresholds: float64 [P]. x, y: as the curve's name has them."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    thresholds: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Performance:
    """roc: 1 - specificity, sensitivity. precision_recall: recall, precision. None without both kinds."""

    results: Results
    labelled: Labelled
    figures: Sequence[Figure]
    points: Sequence[PointRates]
    reliability: Sequence[ReliabilityBin]
    roc: Curve | None
    precision_recall: Curve | None

    @property
    def positives(self) -> int:
        """Films with the finding."""
        return int(self.labelled.labels.sum())


def measure(results: Results, labelled: Labelled, say: Callable[[str], object]) -> Performance:
    """All figures of one finding. say: told what comes next; large tables take a while."""
    scores, labels = labelled.probabilities, labelled.labels
    draws = PatientDraws(labelled.patients)
    everybody = np.zeros(len(labels), np.intp)
    statistics: dict[str, Statistic] = {"auc": partial(within_group_auc, scores, labels, everybody)}
    if len(np.unique(labelled.sources)) > 1:
        statistics["auc_within_source"] = partial(within_group_auc, scores, labels, labelled.sources)
    statistics["average_precision"] = partial(average_precision, scores, labels)
    for share in (0.9, 0.95):
        name = f"sensitivity_at_specificity_{share:.0%}".rstrip("%")
        statistics[name] = partial(sensitivity_at_specificity, scores, labels, share)
    figures = []
    for name, statistic in statistics.items():
        say(f"{name} on {len(labels):,} films")
        figures.append(figure_of(name, statistic, labels, draws))
    say("calibration")
    figures += calibration_figures([scores], labels, draws)
    return Performance(
        results=results,
        labelled=labelled,
        figures=figures,
        points=_points(results, labelled),
        reliability=reliability([scores], labels, labelled.patients) if len(labels) else [],
        roc=_roc(scores, labels),
        precision_recall=_precision_recall(scores, labels),
    )


def _points(results: Results, labelled: Labelled) -> list[PointRates]:
    """Every operating point of the run's decision, its threshold if it is none of them, and its own flags."""
    rates = []
    known = results.summary.get("operating_points")
    points: Any = known.get(results.finding, []) if isinstance(known, dict) else []
    in_force = results.summary.get("thresholds")
    threshold = in_force.get(results.finding) if isinstance(in_force, dict) else None
    if isinstance(threshold, int | float) and threshold not in [point["threshold"] for point in points]:
        rates.append(_rates("threshold", float(threshold), labelled))
    rates += [
        _rates(point["name"], point["threshold"], labelled, point["sensitivity"], point["specificity"])
        for point in points
    ]
    return [*sorted(rates, key=lambda rate: rate.threshold or 0.0), _rates(AS_FLAGGED, None, labelled)]


def _rates(
    name: str,
    threshold: float | None,
    labelled: Labelled,
    sensitivity: float | None = None,
    specificity: float | None = None,
) -> PointRates:
    flagged = labelled.flagged if threshold is None else labelled.probabilities >= threshold
    positive, patients = labelled.labels == 1, labelled.patients

    def rate(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> Rate:
        value, interval = rate_by_patient(hits[among], patients[among])
        return Rate(value, interval, int(hits[among].sum()), int(among.sum()))

    return PointRates(
        name=name,
        threshold=threshold,
        sensitivity=rate(flagged, positive),
        specificity=rate(~flagged, ~positive),
        ppv=rate(positive, flagged),
        npv=rate(~positive, ~flagged),
        promised_sensitivity=sensitivity,
        promised_specificity=specificity,
    )


def _steps(
    scores: NDArray[np.float64], labels: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
    """True and false positives at every score as threshold, falling; None without films of both kinds."""
    if len(np.unique(labels)) < 2:
        return None
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # films with one score come together
    hits, alarms = np.cumsum(labels[order] == 1)[last], np.cumsum(labels[order] == 0)[last]
    return hits.astype(np.float64), alarms.astype(np.float64), scores[order][last]


def _roc(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> Curve | None:
    steps = _steps(scores, labels)
    if steps is None:
        return None
    hits, alarms, thresholds = steps
    start = np.zeros(1)
    return Curve(
        np.concatenate([start, alarms / alarms[-1]]),
        np.concatenate([start, hits / hits[-1]]),
        np.concatenate([[np.inf], thresholds]),
    )


def _precision_recall(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> Curve | None:
    steps = _steps(scores, labels)
    if steps is None:
        return None
    hits, alarms, thresholds = steps
    return Curve(hits / hits[-1], hits / (hits + alarms), thresholds)
