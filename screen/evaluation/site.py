"""A site's own decision file from a finished run: by the share of cases to flag, labels, or a prevalence."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from math import floor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from screen.codes import Warn
from screen.decide import Decision, Verdict, decide, decision_from, verdicts_alone
from screen.decide.decision import DECISION_VERSION
from screen.decide.rates import wilson
from screen.decide.scratch import Scratch
from screen.errors import UsageError
from screen.evaluation.folds import fold_of
from screen.evaluation.labels import LabelColumns, match_labels
from screen.evaluation.metrics import FEW
from screen.evaluation.platt import Calibration, calibrated, log_odds
from screen.evaluation.results import Results, read_results
from screen.model import ModelCard, OperatingPoint
from screen.runs.finished import FinishedRun, finished_run
from screen.text import safe_path

SITE = "site"
"""The operating point that a flag rate makes."""


@dataclass(frozen=True, slots=True)
class SiteDecision:
    """What goes into a decision file, and how it came about, in words.

    weights_digest: of the model that made the scores.
    """

    finding: str
    weights_digest: str
    calibration: Calibration
    story: str

    def to_json(self) -> str:
        """The file (`screen.decide.decision`)."""
        return (
            json.dumps(
                {
                    "cxr_screen_decision": DECISION_VERSION,
                    "weights_digest": self.weights_digest,
                    "findings": {self.finding: asdict(self.calibration)},
                },
                indent=2,
                ensure_ascii=False,
            )
            + "\n"
        )


def decision_from_prevalence(run: FinishedRun, finding: str | None, prevalence: float) -> SiteDecision:
    """The model's own calibration, for another prevalence. Raises UsageError unless it is between 0 and 1."""
    name = _finding(run.card, finding)
    calibration = Calibration.of(run.card.finding(name)).at(prevalence)
    story = f"the model's own calibration, for a prevalence of {prevalence:.4g}"
    return SiteDecision(name, run.card.weights_digest, calibration, story)


def decision_from_flag_rate(run: FinishedRun, finding: str | None, rate: float) -> SiteDecision:
    """The threshold that would have flagged that share of the run's cases, and never more.

    Cases are counted as reports count them, by their new films: duplicates and films known from earlier
    nights don't count. What the point is worth is read off the model's own points: an expectation.
    Raises UsageError for a rate that makes no threshold out of so many cases.
    """
    name = _finding(run.card, finding)
    if not 0 < rate < 1:
        raise UsageError("--flag-rate is a share of cases: give a number between 0 and 1")
    scores = _case_logits(run, decision_from(run.card, None, None, None, (name,)), name)
    flagged = floor(rate * len(scores) + 1e-9)
    while flagged and scores[flagged - 1] == scores[flagged]:
        flagged -= 1  # cases with one score are flagged together
    if not flagged:
        raise UsageError(
            f"{rate:g} of {len(scores):,} cases is less than one case: give a larger --flag-rate, or a run "
            "with more films"
        )
    own = Calibration.of(run.card.finding(name))
    between = (scores[flagged - 1] + scores[flagged]) / 2
    threshold = float(own.probabilities(np.array(between)))
    low, high = wilson(flagged, len(scores))
    share = (
        f"{flagged:,} of {len(scores):,} cases ({flagged / len(scores):.1%}, 95 %: {low:.1%} to {high:.1%})"
    )
    point = expectation(own.operating_points, threshold, share)
    points = (*(each for each in own.operating_points if each.name != SITE), point)
    calibration = replace(own, operating_points=points, default_operating_point=SITE)
    worst, best = point.sensitivity_interval
    story = (
        f"threshold {threshold:.4f} would have flagged {share}; sensitivity expected there "
        f"{point.sensitivity:.1%} ({worst:.1%} to {best:.1%}): read off the model's own points, not measured"
    )
    return SiteDecision(name, run.card.weights_digest, calibration, story)


def decision_from_labels(
    given: Path, labels: Path, columns: LabelColumns, finding: str | None, prevalence: float | None
) -> SiteDecision:
    """Calibrate a finished run's scores with a site's labels. given: as `read_results` takes it.

    prevalence: of where the decision is for; None: that of the labels. Raises UsageError.
    """
    results = read_results(given, finding)
    if any(film.probability is not None and np.isnan(film.logit) for film in results.films):
        results = _with_logits(results)
    labelled = match_labels(results, labels, columns)
    truth = labelled.labels
    unused = f"{len(labelled.unused):,} labels have no film with a score"
    for kind, number in (("with", int((truth == 1).sum())), ("without", int((truth == 0).sum()))):
        if number < FEW:
            raise UsageError(
                f"{labels}: {number} labelled films {kind} the finding have a score in {results.path} "
                f"({unused}); at least {FEW} are needed"
            )
    patients = labelled.patients
    folds = np.array([[str(fold_of(patient, 0)) for patient in patients]])
    where = (
        f"{len(truth):,} films of our own ({int(truth.sum()):,} with the finding) of "
        f"{len(np.unique(patients)):,} patients or studies; thresholds chosen on the others"
    )
    calibration = calibrated(labelled.logits[None], truth, folds, patients, where)
    if prevalence is not None:
        calibration = calibration.at(prevalence)
    story = f"{len(truth):,} labelled films ({unused}), prevalence {calibration.prevalence:.4g}"
    return SiteDecision(results.finding, results.weights_digest, calibration, story)


def _with_logits(results: Results) -> Results:
    """The films with logits from the ledger beside the table: `findings.csv` has probabilities alone.

    Raises UsageError and LedgerError if there is no such ledger, or it has another run's films.
    """
    with finished_run(results.path.parent) as run:
        name = _finding(run.card, results.finding)
        decision = decision_from(run.card, None, None, None)
        logits = {
            safe_path(verdict.file): verdict.findings[name].logit
            for verdict in verdicts_alone(run.ledger.listed_rows(), decision)
            if verdict.findings
        }
    try:
        films = [f if f.probability is None else replace(f, logit=logits[f.file]) for f in results.films]
    except KeyError as error:
        raise UsageError(
            f"{results.path}: the ledger beside it is another run's; give a run's folder as it was left"
        ) from error
    return replace(results, films=tuple(films))


def expectation(points: Sequence[OperatingPoint], threshold: float, share: str) -> OperatingPoint:
    """The point `SITE` at a threshold where nobody measured: between the measured ones, by log odds.

    Beyond them nothing is known but the one side: its interval goes to 0 or 1. share: what it would have
    flagged.
    """
    measured = sorted(
        (p for p in points if (p.sensitivity_interval, p.specificity_interval) != ((0.0, 1.0), (0.0, 1.0))),
        key=lambda point: point.threshold,
    )
    if not measured:
        said = f"not measured; it would have flagged {share}"
        return OperatingPoint(SITE, threshold, 0.0, (0.0, 1.0), 0.0, (0.0, 1.0), said)
    at, known = log_odds(threshold), [log_odds(point.threshold) for point in measured]

    def read_off(values: Iterable[float]) -> float:
        return float(np.interp(at, known, list(values)))

    below, above = at < known[0], at > known[-1]
    sensitivity = (
        0.0 if above else read_off(p.sensitivity_interval[0] for p in measured),
        1.0 if below else read_off(p.sensitivity_interval[1] for p in measured),
    )
    specificity = (
        0.0 if below else read_off(p.specificity_interval[0] for p in measured),
        1.0 if above else read_off(p.specificity_interval[1] for p in measured),
    )
    return OperatingPoint(
        name=SITE,
        threshold=threshold,
        sensitivity=read_off(p.sensitivity for p in measured),
        sensitivity_interval=sensitivity,
        specificity=read_off(p.specificity for p in measured),
        specificity_interval=specificity,
        measured_on=f"an expectation, not measured at this threshold: read off the model's own points "
        f"({measured[0].measured_on}). Chosen to flag {share}",
    )


def _finding(card: ModelCard, finding: str | None) -> str:
    names = [each.name for each in card.findings]
    if finding is not None and finding not in names:
        raise UsageError(f"--finding {finding}: the model has {', '.join(names)}")
    return finding or card.primary


def _case_logits(run: FinishedRun, decision: Decision, finding: str) -> NDArray[np.float64]:
    """The strongest logit of each case's films that count and are new, falling."""
    cases: dict[tuple[str, str], float] = {}
    with TemporaryDirectory(dir=run.ledger.path.parent) as aside, Scratch(Path(aside)) as scratch:
        for verdict in decide(run.ledger.listed_rows(), decision, scratch):
            if verdict.counts and Warn.KNOWN not in verdict.warnings:
                case, logit = _case(verdict), verdict.findings[finding].logit
                cases[case] = max(logit, cases.get(case, logit))
    return np.sort(np.array(list(cases.values()), np.float64))[::-1]


def _case(verdict: Verdict) -> tuple[str, str]:
    """A study of one patient; a film without a study is a case of its own."""
    identity = verdict.row.identity
    return (
        (identity.study_instance_uid, identity.patient_id)
        if identity.study_instance_uid
        else ("", verdict.file)
    )
