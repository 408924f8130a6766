"""From rows to verdicts: a function of rows alone, so that another threshold never needs a pixel.

    rows ─ decide ─→ verdicts (one per row, same order) ─ Cases ─→ studies, ranked

`decide` settles what reading cannot know: what the gate turns away, which file repeats an earlier one,
the calibrated probability, and what is flagged. Which rows it gets, and from how many ledgers they
came, is not its business. Nothing here holds more than a few rows at a time.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from screen.codes import OF_GATE, OF_POSE, Reason, Status, Warn
from screen.decide.decision import Decision
from screen.decide.duplicates import Duplicates, Group
from screen.decide.scratch import Scratch
from screen.ledger import Inference, Row, Rows

__all__ = ["Score", "Verdict", "Verdicts", "decide", "verdict_alone", "verdicts_alone"]

_GROUPS_AT_HAND = 256
"""Verdicts of groups kept for the files that repeat them: duplicates often lie close together."""


@dataclass(frozen=True, slots=True)
class Score:
    """One finding on one film.

    logit: as the network gave it. probability: calibrated, 0 … 1. margin: the calibrated logit minus the
    threshold's. flagged: probability >= threshold. flagging: the finding is one that flags a film.
    """

    finding: str
    logit: float
    probability: float
    threshold: float
    margin: float
    flagged: bool
    flagging: bool

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
    def file(self) -> str:
        """As reports show it."""
        return self.row.file

    @property
    def probability(self) -> float | None:
        """Of the primary finding, calibrated, 0 … 1; None unless `screened`."""
        return None if self.primary is None else self.primary.probability

    @property
    def findings(self) -> dict[str, Score]:
        """All scores by their finding, in the model's order; empty unless `screened`."""
        return {score.finding: score for score in self.scores}

    @property
    def heatmap(self) -> NDArray[np.float32] | None:
        """Of the primary finding over the whole square, [h, w], logits before the bias; None if no score."""
        if self.primary is None or self.row.inference is None:
            return None
        grids = self.row.inference.heatmap.grid()
        return np.asarray(grids[self.scores.index(self.primary)], np.float32)

    @property
    def flagged(self) -> bool:
        """Any finding that flags reaches its threshold."""
        return any(score.flagged and score.flagging for score in self.scores)

    @property
    def top(self) -> Score:
        """Of the findings that flag, the one with the largest margin. ValueError if there are no scores."""
        if len(self.scores) == 1:
            return self.scores[0]
        return max((s for s in self.scores if s.flagging), key=lambda score: score.strength)

    @property
    def may_be_lost(self) -> bool:
        """A film without a score that a person may miss: its tags say chest, or not what it shows."""
        row = self.row
        unexplained = self.reason is Reason.UNLIKE_CHEST and bool(row.identity.modality)
        return self.status is not Status.SCREENED and (row.declared_chest or unexplained)

    @property
    def counts(self) -> bool:
        """A film with a result of its own: screened and no duplicate."""
        return self.status is Status.SCREENED and not self.duplicate_of


def decide(rows: Rows, decision: Decision, scratch: Scratch) -> "Verdicts":
    """One verdict per row, in the rows' order, which must be that of INPUT: "earlier" is decided by it.

    Gate: an inferred film with `gate` <= the card's threshold is kept with the warning `unlike_chest` if
    its tags (or those of a duplicate) say chest, and is `skipped` for it otherwise. Between this edge and the
    card's second one a film whose tags do not say chest is kept with the warning `perhaps_no_chest`.
    Duplicates: rows with the same pixel digest, SOP Instance UID (if any), patient and study share the first
    one's verdict and name it in `duplicate_of`; their result may stand in any of their rows. The same film
    under another patient or study is a film of its own; both get `identity_differs`.
    Reused UIDs: films with the SOP Instance UID of an earlier film but another pixel digest, and their
    duplicates, get `uid_reused`. The first film does not: it is what the UID was given to.

    Reads the films' keys at once, rows whenever verdicts are read. scratch: one for each call.
    A verdict raises ValueError if its row is screened but has no result: a broken ledger or a bug.
    """
    return Verdicts(rows, decision, Duplicates(rows.film_keys(), scratch))


def verdict_alone(row: Row, decision: Decision) -> Verdict:
    """The verdict of a row that has no others beside it. Raises ValueError as `decide` does."""
    return _Rule(decision).verdict(row)


def verdicts_alone(rows: Iterable[Row], decision: Decision) -> Iterator[Verdict]:
    """`verdict_alone` of each."""
    return map(_Rule(decision).verdict, rows)


class Verdicts:
    """What `decide` made of rows: in their order, or one by its row's place. Made anew when they are read."""

    def __init__(self, rows: Rows, decision: Decision, duplicates: Duplicates) -> None:
        self._rows = rows
        self._rule = _Rule(decision)
        self._duplicates = duplicates
        self._of_group = lru_cache(_GROUPS_AT_HAND)(self._decide_group)

    def __iter__(self) -> Iterator[Verdict]:
        members = self._duplicates.members()
        at, group = next(members, (-1, None))
        for position, row in enumerate(self._rows):
            if group is not None and position == at:
                yield self._in_group(row, position, group)
                at, group = next(members, (-1, None))
            else:
                yield self._rule.verdict(row)

    def __getitem__(self, position: int) -> Verdict:
        row = self._rows[position]
        group = self._duplicates.group_of(position)
        return self._rule.verdict(row) if group is None else self._in_group(row, position, group)

    def _in_group(self, row: Row, position: int, group: Group) -> Verdict:
        """The group's verdict as this row's: with the row's own warnings."""
        if position == group.first == group.holder:
            first = self._group_verdict(row, row, group)
        else:
            first = self._of_group(group)
        warnings = list(row.warnings)
        warnings += [code for code in OF_GATE if code in first.warnings]
        if group.uid_reused:
            warnings.append(str(Warn.UID_REUSED))
        if group.identity_differs:
            warnings.append(str(Warn.IDENTITY_DIFFERS))
        is_first = position == group.first
        return replace(
            first,
            row=first.row if is_first else _sharing(row, first.row),
            warnings=_each_once(warnings),
            duplicate_of="" if is_first else first.row.file,
        )

    def _decide_group(self, group: Group) -> Verdict:
        first = self._rows[group.first]
        return self._group_verdict(first, first if group.holder is None else self._rows[group.holder], group)

    def _group_verdict(self, first: Row, holder: Row, group: Group) -> Verdict:
        """The verdict of a group's first row, with the result of whichever row holds one."""
        return self._rule.verdict(replace(_sharing(first, holder), declared_chest=group.declared_chest))


class _Rule:
    """A decision, ready to be applied to many rows."""

    def __init__(self, decision: Decision) -> None:
        card = decision.card
        self._gate_threshold = card.gate_threshold
        self._gate_certain = -math.inf if card.gate_certain is None else card.gate_certain
        self._primary = [finding.name for finding in card.findings].index(card.primary)
        self._findings = [
            (finding, threshold, _logit(threshold), finding.name in decision.flagging)
            for finding in card.findings
            for threshold in (decision.thresholds[finding.name],)
        ]
        self._distances = np.array(card.distance_quantiles, np.float64)
        self._percentiles = np.linspace(0, 100, len(card.distance_quantiles))

    def verdict(self, row: Row) -> Verdict:
        """The row's verdict as if no other row were there."""
        if row.status is not Status.SCREENED:
            return Verdict(row, row.status, row.reason, row.warnings)
        inference = row.inference
        if inference is None:
            raise ValueError(f"{row.file} is screened but has no result")
        warnings = _each_once(row.warnings)
        if not inference.gate > self._gate_threshold:
            if not row.declared_chest:
                # What is no chest film has no right way up.
                warnings = tuple(code for code in warnings if code not in OF_POSE)
                return Verdict(row, Reason.UNLIKE_CHEST.status, Reason.UNLIKE_CHEST, warnings)
            warnings = _each_once((*warnings, str(Warn.UNLIKE_CHEST)))
        elif not row.declared_chest and not inference.gate > self._gate_certain:
            warnings = _each_once((*warnings, str(Warn.PERHAPS_NO_CHEST)))
        scores = tuple(self._scores(inference))
        return Verdict(
            row=row,
            status=Status.SCREENED,
            reason=None,
            warnings=warnings,
            scores=scores,
            primary=scores[self._primary],
            normal_distance=float(np.interp(inference.distance, self._distances, self._percentiles)),
        )

    def _scores(self, inference: Inference) -> Iterator[Score]:
        for known, logit in zip(self._findings, inference.logits, strict=True):
            finding, threshold, least, flagging = known
            calibrated = finding.slope * logit + finding.intercept
            probability = _sigmoid(calibrated)
            yield Score(
                finding=finding.name,
                logit=logit,
                probability=probability,
                threshold=threshold,
                margin=calibrated - least,
                flagged=probability >= threshold,
                flagging=flagging,
            )


def _sharing(row: Row, holder: Row) -> Row:
    """The row with the holder's result, and where that lies in the square."""
    return replace(row, inference=holder.inference, geometry=holder.geometry or row.geometry)


def _each_once(codes: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(codes))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _logit(threshold: float) -> float:
    """From it margins are counted; 0 and 1, everything and certainty alone, have none: 0 stands for it."""
    return math.log(threshold) - math.log1p(-threshold) if 0 < threshold < 1 else 0.0
