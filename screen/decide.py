"""From rows to verdicts and cases: pure functions, so that another threshold never needs a pixel.

    rows ─ decide ─→ verdicts (one per row, same order) ─ cases ─→ studies, ranked

`decide` settles what reading cannot know: what the gate turns away, which file repeats an earlier one,
the calibrated probability, and what is flagged. Which rows it gets, and from how many ledgers they
came, is not its business.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from screen.decision import Decision, decision_from
from screen.film import Identity
from screen.model_card import Finding, ModelCard
from screen.reasons import Reason, Status, Warn
from screen.rows import Inference, Row

__all__ = ["Case", "Decision", "Score", "Verdict", "cases", "decide", "decision_from"]


@dataclass(frozen=True, slots=True)
class Score:
    """One finding on one film.

    logit: as the network gave it. probability: calibrated, 0 … 1. margin: the calibrated logit minus the
    threshold's. flagged: probability >= threshold.
    """

    finding: str
    logit: float
    probability: float
    threshold: float
    margin: float
    flagged: bool

    @property
    def strength(self) -> tuple[bool, float]:
        """What orders scores: flagged ones first (a margin of 0 may be off by its last bit), then margins."""
        return self.flagged, self.margin


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one file.

    row: with the result that it shares if it belongs to a group of duplicates.
    scores: in the model's order of findings; empty unless `screened`. primary: the one of `card.primary`.
    normal_distance: percentile (0 … 100) among held-out normal films.
    """

    row: Row
    status: Status
    reason: Reason | None
    warnings: tuple[str, ...]
    duplicate_of: str = ""
    scores: tuple[Score, ...] = ()
    primary: Score | None = None
    normal_distance: float | None = None

    @property
    def flagged(self) -> bool:
        """Any finding reaches its threshold."""
        return any(score.flagged for score in self.scores)

    @property
    def top(self) -> Score:
        """The finding with the largest margin. Raises ValueError if the film has no scores."""
        return max(self.scores, key=lambda score: score.strength)

    @property
    def counts(self) -> bool:
        """A film with a result of its own: screened and no duplicate."""
        return self.status is Status.SCREENED and not self.duplicate_of


@dataclass(frozen=True, slots=True)
class Case:
    """A study, or one film without a study UID.

    films: screened, no duplicates, strongest first; at least one. images_unread: failed films of the study.
    new: at least one of its films was not known from an earlier night.
    """

    films: tuple[Verdict, ...]
    images_unread: int
    new: bool

    @property
    def lead(self) -> Verdict:
        """The film that stands for the study."""
        return self.films[0]

    @property
    def identity(self) -> Identity:
        """Of the leading film."""
        return self.lead.row.identity

    @property
    def listed(self) -> bool:
        """Stands in `flagged.csv`: flagged, and not only what an earlier night has already reported."""
        return self.lead.flagged and self.new

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of all its films, each once."""
        return tuple(dict.fromkeys(code for film in self.films for code in film.warnings))


def probability_from_logit(logit: float, finding: Finding) -> float:
    """The calibrated probability (Platt 1999), without overflow at either end."""
    return _sigmoid(finding.slope * logit + finding.intercept)


def decide(rows: Sequence[Row], decision: Decision) -> list[Verdict]:
    """One verdict per row, in the rows' order, which must be that of INPUT: "earlier" is decided by it.

    Gate: an inferred film with `gate` <= the card's threshold is kept with the warning `unlike_chest` if
    its tags (or those of a duplicate) say chest, and is `skipped` for it otherwise.
    Duplicates: rows with the same pixel digest and SOP Instance UID (without one, as pictures are: of the
    same patient and study, if any) share the first one's verdict and name it in `duplicate_of`; their
    result may stand in any of their rows.
    Reused UIDs: films with the SOP Instance UID of an earlier film but another pixel digest, and their
    duplicates, get `uid_reused`. The first film does not: it is what the UID was given to.

    Raises ValueError if a screened row has no result or one of another network: a broken ledger or a bug.
    """
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    digest_of_uid: dict[str, str] = {}
    for row in rows:
        if key := _image_key(row):
            groups[key].append(row)
            digest_of_uid.setdefault(key[0], row.pixel_digest)
    first_of_group = {key: _first(group, decision) for key, group in groups.items()}

    verdicts = []
    for row in rows:
        if row.status is not Status.SCREENED:
            verdicts.append(Verdict(row, row.status, row.reason, row.warnings))
        elif not (key := _image_key(row)):
            verdicts.append(_verdict(row, decision))
        else:
            first = first_of_group[key]
            reused = bool(row.identity.sop_instance_uid) and digest_of_uid[key[0]] != row.pixel_digest
            shared = (Warn.UNLIKE_CHEST,) if Warn.UNLIKE_CHEST in first.warnings else ()
            own = (*row.warnings, *shared, *((Warn.UID_REUSED,) if reused else ()))
            is_first = row is groups[key][0]
            verdicts.append(
                replace(
                    first,
                    row=first.row if is_first else _sharing(row, first.row),
                    warnings=tuple(dict.fromkeys(map(str, own))),
                    duplicate_of="" if is_first else first.row.file,
                )
            )
    return verdicts


def cases(verdicts: Sequence[Verdict], decision: Decision) -> list[Case]:
    """All studies with at least one screened film, strongest first, then by study UID, then by file.

    Flagged ones come first; `Case.listed` says which of them go into `flagged.csv`. A study belongs to one
    patient (PS3.3 A.1.2): where two patients share a Study Instance UID they are two cases, so that
    neither hides the other.
    """
    films: dict[tuple[str, str, str], list[Verdict]] = defaultdict(list)
    unread: dict[str, int] = defaultdict(int)
    for verdict in verdicts:
        study = verdict.row.identity.study_instance_uid
        if verdict.counts:
            films[study, verdict.row.identity.patient_id, "" if study else verdict.row.file].append(verdict)
        elif verdict.status is Status.FAILED and study:
            unread[study] += 1
    found = []
    for (study, _, _), group in films.items():
        group.sort(key=_reading_order)
        new = any(Warn.KNOWN not in film.warnings for film in group)
        found.append(Case(tuple(group), unread.get(study, 0), new))
    return sorted(found, key=lambda case: _reading_order(case.lead))


def _reading_order(verdict: Verdict) -> tuple[bool, float, str, str]:
    flagged, margin = verdict.top.strength
    return not flagged, -margin, verdict.row.identity.study_instance_uid, verdict.row.file


def _image_key(row: Row) -> tuple[str, str] | None:
    """(which image it says it is, pixel digest) of a film that can have duplicates."""
    identity = row.identity
    if row.status is not Status.SCREENED or not row.pixel_digest:
        return None
    stated = identity.sop_instance_uid or f"{identity.patient_id}\0{identity.study_instance_uid}"
    return stated, row.pixel_digest


def _sharing(row: Row, holder: Row) -> Row:
    """The row with the holder's result, and where that lies in the square."""
    return replace(row, inference=holder.inference, geometry=holder.geometry or row.geometry)


def _first(group: Sequence[Row], decision: Decision) -> Verdict:
    """The verdict of a group's first row, with the result of whichever row holds one."""
    first = group[0]
    holder = next((row for row in group if row.inference is not None), first)
    declared_chest = any(row.declared_chest for row in group)
    return _verdict(replace(_sharing(first, holder), declared_chest=declared_chest), decision)


def _verdict(row: Row, decision: Decision) -> Verdict:
    inference = row.inference
    if inference is None:
        raise ValueError(f"{row.file} is screened but has no result")
    card = decision.card
    warnings = row.warnings
    if not inference.gate > card.gate_threshold:
        if not row.declared_chest:
            return Verdict(row, Reason.UNLIKE_CHEST.status, Reason.UNLIKE_CHEST, warnings)
        warnings = tuple(dict.fromkeys((*warnings, str(Warn.UNLIKE_CHEST))))
    scores = tuple(_scores(inference, decision))
    return Verdict(
        row=row,
        status=Status.SCREENED,
        reason=None,
        warnings=warnings,
        scores=scores,
        primary=next(score for score in scores if score.finding == card.primary),
        normal_distance=_percentile(inference.distance, card),
    )


def _scores(inference: Inference, decision: Decision) -> Iterator[Score]:
    for finding, logit in zip(decision.card.findings, inference.logits, strict=True):
        threshold = decision.thresholds[finding.name]
        calibrated = finding.slope * logit + finding.intercept
        probability = _sigmoid(calibrated)
        margin = calibrated - (math.log(threshold) - math.log1p(-threshold))
        yield Score(finding.name, logit, probability, threshold, margin, probability >= threshold)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _percentile(distance: float, card: ModelCard) -> float:
    quantiles = card.distance_quantiles
    return float(np.interp(distance, quantiles, np.linspace(0, 100, len(quantiles))))
