"""What recipes are worth, from their predictions of films that they did not learn from: every figure once.

The headline AUC counts positive–negative pairs of films from one source: the source alone predicts the label.
A recipe with several seeds is measured seed by seed and averaged (one network is what gets shipped, not their
mean score); intervals draw patients, the same ones for all seeds and recipes, so differences are paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen.errors import UsageError
from screen.evaluation.metrics import (
    Figure,
    Statistic,
    figure_of,
    mean_over,
    patient_draws,
    sensitivity_at_specificity,
    within_group_auc,
)
from screen.evaluation.platt import Calibration, calibrated, cross_fitted
from screen.evaluation.reliability import ReliabilityBin, calibration_figures, reliability
from train.measure.pointing import Pointing, pointing
from train.measure.predictions import Cohort, Recipe

READERS = "auc_adjudicated"
"""Against what radiologists saw and talked over, in pairs of one source: the headline where it is known."""
HEADLINE = "auc_within_source"
"""Likewise against the table's labels."""
BORNE_OUT = f"{HEADLINE}_borne_out"
"""The same over films whose label the patient's others bear out, in pairs of patients with about as many."""
COMBINED = "auc_combined"
"""The mean of the readers', the borne-out labels' and the other hospitals' AUC. By it recipes are compared:
each alone stands on few films."""

Films = NDArray[np.intp]
"""Places in the cohort."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`recipe` minus `other` in one figure, on the films that both have; low, high: paired 95 % interval."""

    recipe: str
    other: str
    figure: str
    difference: float
    low: float
    high: float
    films: int

    @property
    def excludes_zero(self) -> bool:
        """The difference is no chance of these patients."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class EfficiencyPoint:
    """The headline of one start after fine-tuning with the labels of `share` (0 … 1) of the patients."""

    start: str
    share: float
    figure: Figure

    @property
    def name(self) -> str:
        """Of its recipe."""
        return efficiency_name(self.start, self.share)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All of it. The first recipe is the one that is shipped, and what has no recipe's name is about it.

    films: places of its predictions in the cohort. probabilities: float64 [S, films], cross-fitted unless the
    calibration was given. figures: by recipe. fixed_point: see `train.measure.pointing`.
    """

    finding: str
    cohort: Cohort
    recipes: tuple[Recipe, ...]
    films: Films
    probabilities: NDArray[np.float64]
    calibration: Calibration
    figures: Mapping[str, Sequence[Figure]]
    comparisons: Sequence[Comparison]
    reliability: Sequence[ReliabilityBin]
    pointing: Sequence[Pointing]
    fixed_point: tuple[float, float]
    efficiency: Sequence[EfficiencyPoint] = ()

    @property
    def shipped(self) -> Recipe:
        """The first recipe."""
        return self.recipes[0]

    def figure(self, name: str) -> Figure:
        """One of the shipped recipe's, over all films. Raises KeyError."""
        try:
            return next(f for f in self.figures[self.shipped.name] if f.name == name and not f.group)
        except StopIteration:
            raise KeyError(name) from None

    def for_model(self) -> dict[str, Any]:
        """The shipped recipe's figures over all films, as a model's metadata keep them.

        `pointing`, how often the heat map is highest within the lesion, is what DICOM results go by; beside
        it by size and source, and what chance would hit.
        """
        figures: dict[str, Any] = {
            figure.name: {
                "value": figure.value,
                "interval": [figure.low, figure.high],
                "films": figure.films,
                "positives": figure.positives,
            }
            for figure in self.figures[self.shipped.name]
            if not figure.group and not figure.note
        }
        if self.pointing:
            everything, *parts = map(_hits, self.pointing)
            groups = [part.group for part in self.pointing[1:]]
            figures["pointing"] = {**everything, "groups": dict(zip(groups, parts, strict=True))}
        return figures


def _hits(part: Pointing) -> dict[str, Any]:
    interval = list(part.interval)
    return {"value": part.hit, "interval": interval, "films": part.films, "chance": part.chance}


def efficiency_name(start: str, share: float) -> str:
    """What a recipe of a label-efficiency curve is called."""
    return f"{start} {100 * share:g} %"


def evaluate(
    cohort: Cohort,
    recipes: Sequence[Recipe],
    efficiency: Mapping[tuple[str, float], Recipe],
    finding: str,
    calibration: Calibration | None = None,
) -> Evaluation:
    """Measure recipes. efficiency: by start and share of labelled patients, first start against the others.

    calibration: what the model has already, if these films did not make it; else it is fitted to them, and
    measured on each fold by the others'. Raises UsageError where the first recipe has too few films or folds.
    """
    measure = _Measure(cohort)
    shipped = recipes[0]
    films = np.flatnonzero(shipped.covered)
    starts = list(dict.fromkeys(start for start, _ in efficiency))
    efficiency = dict(sorted(efficiency.items(), key=lambda item: (starts.index(item[0][0]), item[0][1])))
    labels, patients = cohort.labels[films], cohort.patients[films]
    for kind, of_kind in (("with", labels == 1), ("without", labels == 0)):
        if not of_kind.any():
            raise UsageError(f"{shipped.name}: no film {kind} {finding} has a prediction")
    logits, folds = shipped.logits[:, films], shipped.folds[:, films]
    if calibration is None:
        seeds = f", {len(shipped.seeds)} seeds" if len(shipped.seeds) > 1 else ""
        where = (
            f"{len(films):,} films ({int(labels.sum()):,} with {finding}) of {len(np.unique(patients)):,} "
            f"patients out of fold{seeds}; thresholds chosen on the other folds"
        )
        calibration = calibrated(logits, labels, folds, patients, where)
        probabilities = np.stack(
            [cross_fitted(of_seed, labels, fold) for of_seed, fold in zip(logits, folds, strict=True)]
        )
    else:
        probabilities = calibration.probabilities(logits)
    figures = {recipe.name: measure.aucs(recipe) for recipe in recipes}
    figures[shipped.name] += [
        *measure.seeds(shipped),
        *measure.at_specificity(shipped),
        *measure.calibration(films, probabilities),
        *measure.calibration_to_readers(films, probabilities),
        *_rates(calibration, labels),
        *measure.slices(shipped),
    ]
    points, fixed_point = pointing(shipped, cohort)
    return Evaluation(
        finding=finding,
        cohort=cohort,
        recipes=tuple(recipes),
        films=films,
        probabilities=probabilities,
        calibration=calibration,
        figures=figures,
        comparisons=[
            *(c for other in recipes[1:] for c in measure.compare(shipped, other)),
            *measure.compare_efficiency(efficiency),
        ],
        reliability=reliability(list(probabilities), labels, patients),
        pointing=points,
        fixed_point=fixed_point,
        efficiency=[
            EfficiencyPoint(start, share, measure.aucs(recipe)[0])
            for (start, share), recipe in efficiency.items()
        ],
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """An AUC: over which films, in which pairs (see `_Measure.auc`), against which labels [N]."""

    name: str
    films: Films
    of_one: str
    labels: NDArray[np.float32]


class _Measure:
    """Figures on films of one cohort, all intervals from the same drawn patients."""

    def __init__(self, cohort: Cohort) -> None:
        self._cohort = cohort
        self._draws = patient_draws(cohort.patients)

    def figure(
        self,
        name: str,
        films: Films,
        statistic: Statistic,
        group: str = "",
        labels: NDArray[np.float32] | None = None,
    ) -> Figure:
        """labels: of the cohort's films, other ones than the table's."""
        truth = self._cohort.labels if labels is None else labels
        return figure_of(name, statistic, truth[films], [self._draws[:, films]], group)

    def auc(
        self,
        recipe: Recipe,
        films: Films,
        of_one: str = "source",
        labels: NDArray[np.float32] | None = None,
    ) -> Statistic:
        """The AUC over pairs of one `source`, of one source and `fold`, or of all films (empty).

        `borne out`: of one source, and of patients with about as many films. labels: as for `figure`.
        """
        sources = self._cohort.sources[films]
        labels = (self._cohort.labels if labels is None else labels)[films]
        if not of_one:
            sources = np.zeros_like(sources)
        elif of_one == "borne out":
            sources = np.char.add(np.char.add(sources, "\n"), self._cohort.borne_out[films])
        return mean_over(
            [
                partial(
                    within_group_auc,
                    scores[films],
                    labels,
                    np.char.add(np.char.add(sources, "\n"), folds[films]) if of_one == "fold" else sources,
                )
                for scores, folds in zip(recipe.logits, recipe.folds, strict=True)
            ]
        )

    def aucs(self, recipe: Recipe) -> list[Figure]:
        """Against the table's labels first, then what `_compared` has."""
        mined, *others = self._compared(recipe.covered)
        everything = np.flatnonzero(recipe.covered)
        asked = [
            mined,
            _Asked(f"{HEADLINE}_and_fold", mined.films, "fold", mined.labels),
            *others,
            _Asked("auc_pooled", everything, "", self._cohort.labels),
        ]
        figures = [
            self.figure(one.name, one.films, self._statistic(recipe, one), labels=one.labels) for one in asked
        ]
        if evidence := self._evidence(others):
            films, statistic = self._combined(recipe, evidence)
            figures.append(self.figure(COMBINED, films, statistic))
        return figures

    def _statistic(self, recipe: Recipe, asked: "_Asked") -> Statistic:
        return self.auc(recipe, asked.films, asked.of_one, asked.labels)

    def _compared(self, covered: NDArray[np.bool_]) -> list["_Asked"]:
        """What recipes are compared in.

        The table's labels in NIH's collections, what readers saw, borne-out labels, and collections outside
        NIH's that have films without the finding too: as far as they are known.
        """
        cohort = self._cohort
        headline, elsewhere = covered & cohort.headline, covered & ~cohort.headline
        asked = [_Asked(HEADLINE, np.flatnonzero(headline), "source", cohort.labels)]
        for who, said in cohort.verdicts.items():
            asked.append(_Asked(f"auc_{who}", np.flatnonzero(covered & ~np.isnan(said)), "source", said))
        if cohort.borne_out.any():
            films = np.flatnonzero(headline & (cohort.borne_out != ""))
            asked.append(_Asked(BORNE_OUT, films, "borne out", cohort.labels))
        for source in np.unique(cohort.sources[elsewhere & (cohort.labels == 0)]):
            films = np.flatnonzero(elsewhere & (cohort.sources == source))
            asked.append(_Asked(f"auc_{source}", films, "source", cohort.labels))
        return asked

    def _evidence(self, asked: Sequence["_Asked"]) -> list["_Asked"]:
        """What `COMBINED` is the mean of; nothing if readers, borne-out labels or other hospitals lack."""
        others = {f"auc_{source}" for source in self._cohort.sources[~self._cohort.headline]}
        kinds = [[one for one in asked if one.name in names] for names in ({READERS}, {BORNE_OUT}, others)]
        return [one for kind in kinds for one in kind] if all(kinds) else []

    def _combined(self, recipe: Recipe, evidence: Sequence["_Asked"]) -> tuple[Films, Statistic]:
        """The films of all of it, and the mean of its AUCs."""
        films = np.unique(np.concatenate([one.films for one in evidence]))
        parts = [(np.searchsorted(films, one.films), self._statistic(recipe, one)) for one in evidence]

        def mean(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(np.mean([statistic(weights[:, at]) for at, statistic in parts], axis=0))

        return films, mean

    def seeds(self, recipe: Recipe) -> list[Figure]:
        """The headline of each seed by itself."""
        films = np.flatnonzero(recipe.covered & self._cohort.headline)
        labels, sources = self._cohort.labels[films], self._cohort.sources[films]
        return [
            self.figure(
                HEADLINE, films, partial(within_group_auc, scores[films], labels, sources), f"seed {seed}"
            )
            for seed, scores in zip(recipe.seeds, recipe.logits, strict=True)
        ]

    def at_specificity(self, recipe: Recipe) -> list[Figure]:
        """Sensitivity where 90 % and 95 % of the headline's films without the finding pass."""
        films = np.flatnonzero(recipe.covered & self._cohort.headline)
        labels = self._cohort.labels[films]
        return [
            self.figure(
                f"sensitivity_at_specificity_{share:.0%}".rstrip("%"),
                films,
                mean_over(
                    [partial(sensitivity_at_specificity, of[films], labels, share) for of in recipe.logits]
                ),
            )
            for share in (0.9, 0.95)
        ]

    def calibration(self, films: Films, probabilities: NDArray[np.float64]) -> list[Figure]:
        return calibration_figures(list(probabilities), self._cohort.labels[films], [self._draws[:, films]])

    def calibration_to_readers(self, films: Films, probabilities: NDArray[np.float64]) -> list[Figure]:
        """The calibration error if what readers saw is true, by who says so."""
        found = []
        for who, said in self._cohort.verdicts.items():
            known = ~np.isnan(said[films])
            draws = self._draws[:, films[known]]
            error = calibration_figures(list(probabilities[:, known]), said[films[known]], [draws])[0]
            found.append(replace(error, name=f"{error.name}_{who}"))
        return found

    def slices(self, recipe: Recipe) -> list[Figure]:
        """The AUC within source in every source and slice.

        By label basis, films with the finding whose label rests on it meet all films without, and the
        reverse.
        """
        cohort, covered = self._cohort, recipe.covered
        figures = []
        for name, values in {"source": cohort.sources, **cohort.slices}.items():
            for value in np.unique(values[covered & (values != "")]):
                mask = covered & (values == value)
                if name == "label basis" and len(kind := np.unique(cohort.labels[mask])) == 1:
                    mask |= covered & (cohort.labels != kind)
                films = np.flatnonzero(mask)
                figures.append(self.figure(HEADLINE, films, self.auc(recipe, films), f"{name}: {value}"))
        return figures

    def compare(self, recipe: Recipe, other: Recipe) -> list[Comparison]:
        """AUCs within sources, on the films that both recipes have; all evidence together first."""
        asked = self._compared(recipe.covered & other.covered)
        pairs = [
            (one.name, one.films, self._statistic(recipe, one), self._statistic(other, one), one.labels)
            for one in asked
        ]
        if evidence := self._evidence(asked):
            films, ours = self._combined(recipe, evidence)
            theirs = self._combined(other, evidence)[1]
            pairs.insert(0, (COMBINED, films, ours, theirs, self._cohort.labels))
        compared = []
        for name, films, one, two, labels in pairs:

            def difference(
                weights: NDArray[np.float64], one: Statistic = one, two: Statistic = two
            ) -> NDArray[np.float64]:
                return one(weights) - two(weights)

            figure = self.figure(name, films, difference, labels=labels)
            compared.append(
                Comparison(recipe.name, other.name, name, figure.value, figure.low, figure.high, figure.films)
            )
        return [one for one in compared if not np.isnan(one.difference)]

    def compare_efficiency(self, efficiency: Mapping[tuple[str, float], Recipe]) -> list[Comparison]:
        """Each start against itself with most labels, and the first start against the others."""
        first = next(iter(efficiency), ("", 0.0))[0]
        pairs = []
        for (start, share), recipe in efficiency.items():
            most = max(s for name, s in efficiency if name == start)
            if share < most:
                pairs.append((recipe, efficiency[start, most]))
            if start != first and (first, share) in efficiency:
                pairs.append((efficiency[first, share], recipe))
        return [c for one, two in pairs for c in self.compare(one, two) if c.figure == HEADLINE]


def _rates(calibration: Calibration, labels: NDArray[np.float32]) -> list[Figure]:
    """Sensitivity and specificity at each operating point, per film."""
    positives = int((labels == 1).sum())
    return [
        figure
        for point in calibration.operating_points
        for figure in (
            Figure(
                f"sensitivity_{point.name}", point.sensitivity, *point.sensitivity_interval,
                positives, positives,
            ),
            Figure(
                f"specificity_{point.name}", point.specificity, *point.specificity_interval,
                len(labels) - positives, 0,
            ),
        )
    ]  # fmt: skip
