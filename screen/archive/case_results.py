"""What is told of a case, and how it is said: never that something is absent, never that a film is normal."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen.codes import OF_GATE, Warn
from screen.decide import Case, Decision, Score, Verdict
from screen.ledger import Row
from screen.model import ModelCard
from screen.model.card import finding_code

NOTICE = "Research use only, not for clinical use."

POINTING_TRUSTED = 0.5
"""Share of films with a lesion on which the heat map is highest within it; below it no cell is outlined."""

NO_UID, DOUBTFUL, UID_REUSED = "no_uid", "doubtful", str(Warn.UID_REUSED)
_DOUBTED = frozenset({*OF_GATE, Warn.BLANK})
_UID = re.compile(r"[0-9.]{1,64}")


def untold(verdict: Verdict) -> str:
    """Why nothing can be told of a film: `no_uid`, `doubtful`, `uid_reused`; empty if it can."""
    who = verdict.row.identity
    uids = (who.study_instance_uid, who.series_instance_uid, who.sop_instance_uid)
    if not all(_UID.fullmatch(uid) for uid in uids):
        return NO_UID
    if _DOUBTED & set(verdict.warnings):
        return DOUBTFUL
    # What refers to the UID would refer to another film.
    return UID_REUSED if Warn.UID_REUSED in verdict.warnings else ""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A study of one patient, as far as it can be told.

    films: those that are told of, strongest first. groups: what is said of them, a film and a finding each.
    flagged: whether these are the flagged ones. left_out, unread: films of which nothing is told, and such
    that could not be read.
    """

    films: tuple[Verdict, ...]
    groups: tuple[tuple[Verdict, Score], ...]
    flagged: bool
    left_out: int
    unread: int

    def words(self) -> Iterator[str]:
        """Of the case as a whole: what part of it this is, for a part must not be taken for the whole."""
        told = len(self.films)
        if self.flagged:
            flagged = len({verdict.row.file for verdict, _ in self.groups})
            yield f"{_share(flagged, told)} flagged; a film that is not flagged may show a finding."
        else:
            yield "No film is flagged; this does not exclude a finding."
        whole = told + self.left_out + self.unread
        if self.unread:
            yield f"{self.unread} of {_films(whole)} could not be read."
        if self.left_out:
            yield f"{self.left_out} of {_films(whole)} left out: doubtful, or under another film's UID."
        yield "Lateral and oblique films are not looked at."

    def words_of(self, verdict: Verdict, score: Score, decision: Decision) -> Iterator[str]:
        """Of one film."""
        if not score.flagged:
            yield f"Not flagged; this does not exclude a finding. {_sensitivity(score, decision)}"
        if place_shown(verdict, score, decision) is None:
            yield "The outline is the whole film's: it shows no place."
        else:
            yield "The outline is the heat map's strongest cell: no border, and perhaps not the only place."
        for code in reported_warnings(verdict):
            yield f"{code}: {Warn(code).meaning}."

    def says(self, decision: Decision) -> dict[str, Any]:
        """All of it, as plain values: what makes it this result and no other."""
        return {
            **_of_decision(decision),
            "films": [_of_film(verdict) for verdict in self.films],
            "groups": [
                [verdict.row.identity.sop_instance_uid, score.finding, score.flagged]
                for verdict, score in self.groups
            ],
            "left_out": self.left_out,
            "images_unread": self.unread,
        }


def result_of(case: Case, films: Sequence[Verdict], decision: Decision) -> CaseResult:
    """films: all that count. Of a flagged case its flagged films have groups, else all of them."""
    told = sorted((film for film in films if not untold(film)), key=_strongest_first)
    flagged = case.lead.flagged
    return CaseResult(
        films=tuple(told),
        groups=tuple(
            (film, score)
            for film in told
            for score in film.scores
            if score.flagging and (score.flagged or not flagged)
        ),
        flagged=flagged,
        left_out=len(films) - len(told),
        unread=case.images_unread,
    )


def says_of_capture(verdict: Verdict, decision: Decision) -> dict[str, Any]:
    """As `CaseResult.says`, of one film's picture."""
    return {**_of_decision(decision), "film": _of_film(verdict), "finding": verdict.top.finding}


def _of_decision(decision: Decision) -> dict[str, Any]:
    card = decision.card
    return {
        "weights": card.weights_digest,
        "decision": decision.digest,
        "operating_point": decision.operating_point,
        "thresholds": decision.thresholds,
        "flagging": decision.flagging,
        # In no digest, but said.
        "model": [card.name, card.version, _places_trusted(card), [finding_code(f) for f in card.findings]],
    }


def _of_film(verdict: Verdict) -> list[Any]:
    row = verdict.row
    logits = [score.logit for score in verdict.scores]
    return [row.identity.sop_instance_uid, row.pixel_digest, logits, list(reported_warnings(verdict))]


def _strongest_first(verdict: Verdict) -> tuple[Any, ...]:
    """Whatever its file is called: the next night may call it otherwise."""
    flagged, margin = verdict.top.strength
    return not flagged, -margin, verdict.row.identity.sop_instance_uid


def reported_warnings(verdict: Verdict) -> Iterator[str]:
    """Not that it is known: a film that is new tonight says the same as one that was new yesterday."""
    return (code for code in verdict.warnings if code != Warn.KNOWN)


def parameters(score: Score, decision: Decision) -> Iterator[str]:
    """What the algorithm was told, and what its percentage means."""
    finding = decision.card.finding(score.finding)
    yield f"weights_digest={decision.card.weights_digest}"
    yield f"decision_digest={decision.digest}"
    yield f"operating_point={decision.point_name(score.finding)}"
    yield f"threshold={score.threshold:.6f}"
    yield f"prevalence={finding.prevalence:.6f} (the certainty is calibrated at it)"
    yield NOTICE


def place_shown(verdict: Verdict, score: Score, decision: Decision) -> tuple[int, int] | None:
    """Row and column of the heat map's strongest cell whose middle lies on the film; None: no place is shown.

    It is none while the model's heat map has not been measured to point at lesions more often than not.
    """
    row, card = verdict.row, decision.card
    if not score.flagged or not _places_trusted(card) or row.inference is None or row.geometry is None:
        return None
    box = row.geometry
    grid = row.inference.heatmap.grid()[card.findings.index(card.finding(score.finding))].astype(np.float32)
    middle_y, middle_x = ((np.arange(cells) + 0.5) * box.size / cells for cells in grid.shape)
    on_film = ((middle_y > box.top) & (middle_y < box.top + box.content_height))[:, None] & (
        (middle_x > box.left) & (middle_x < box.left + box.content_width)
    )
    if not on_film.any():
        return None
    y, x = np.unravel_index(int(np.where(on_film, grid, -np.inf).argmax()), grid.shape)
    return int(y), int(x)


def outline(row: Row, cell: tuple[int, int] | None, cells: tuple[int, int]) -> NDArray[np.float64]:
    """The part of a cell that lies on the film, or the whole film, as a closed line.

    cells: of the heat map, down and across. -> [5, 2], column and row in the film's pixels, from its upper
    left corner.
    """
    box = row.geometry
    if box is None:
        raise ValueError(f"{row.file} is screened but has no geometry")
    top, left, bottom, right = 0.0, 0.0, float(box.height), float(box.width)
    if cell is not None:
        down, across = box.size / cells[0], box.size / cells[1]
        vertical = np.clip(np.array([cell[0], cell[0] + 1]) * down - box.top, 0, box.content_height)
        horizontal = np.clip(np.array([cell[1], cell[1] + 1]) * across - box.left, 0, box.content_width)
        top, bottom = vertical * box.height / box.content_height
        left, right = horizontal * box.width / box.content_width
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])


def _places_trusted(card: ModelCard) -> bool:
    measured = card.metrics.get("pointing")
    rate = measured.get("value") if isinstance(measured, dict) else None
    return isinstance(rate, float) and rate >= POINTING_TRUSTED


def _sensitivity(score: Score, decision: Decision) -> str:
    point = decision.point(score.finding)
    if point is None or point.sensitivity_interval == (0.0, 1.0):
        return "The sensitivity at this threshold was not measured."
    low, high = (f"{100 * end:.0f}" for end in point.sensitivity_interval)
    return f"Measured sensitivity: {100 * point.sensitivity:.0f} % ({low} to {high} %; {point.measured_on})."


def _films(number: int) -> str:
    return f"{number} film" if number == 1 else f"{number} films"


def _share(part: int, whole: int) -> str:
    return f"{part} of {_films(whole)} {'is' if part == 1 else 'are'}"
