"""From verdicts to cases: studies with their films, ranked, and what is missing in them; in flat memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, groupby
from operator import itemgetter
from random import Random
from typing import Any

from screen.codes import Reason, Status, Warn
from screen.decide.scratch import Scratch, sortable
from screen.decide.verdicts import Verdict, Verdicts
from screen.film import Identity

_TABLES = """
CREATE TABLE member (
    study BLOB, counts INTEGER, patient BLOB, below INTEGER, margin REAL, file BLOB, position INTEGER,
    status TEXT, may_be_lost INTEGER, listed_before INTEGER, codes TEXT
);
CREATE TABLE cases (
    id INTEGER PRIMARY KEY, below INTEGER, margin REAL, study BLOB, file BLOB, lead INTEGER, images INTEGER,
    images_flagged INTEGER, images_unread INTEGER, due INTEGER, warnings TEXT
);
CREATE TABLE flagged_film (margin REAL, file BLOB, position INTEGER, case_id INTEGER);
CREATE TABLE unscreened_study (first INTEGER PRIMARY KEY, films INTEGER, reasons TEXT);
"""
# Reading order: below the threshold or not, then the margin with its sign turned, so that all is ascending.
_MEMBERS = """
SELECT study, counts, patient, below, margin, file, position, status, may_be_lost, listed_before, codes
FROM member
ORDER BY study, counts, patient, below, margin, file, position
"""
_FILMS = """
SELECT study, patient, position FROM member WHERE counts
ORDER BY study, patient, below, margin, file, position
"""
_CASES = "SELECT lead, images, images_flagged, images_unread, due, warnings FROM cases"
_STUDIES = f"{_CASES} WHERE study <> x'' ORDER BY id"
_WITHOUT_STUDY = f"{_CASES} WHERE study = x'' ORDER BY id"
_LISTED = f"{_CASES} WHERE NOT below AND due ORDER BY margin, study, file LIMIT ?"
_LEFT_OUT = f"{_CASES} WHERE NOT below AND NOT due ORDER BY margin, study, file LIMIT ?"
_QUIET = "SELECT id FROM cases WHERE below AND study <> x'' ORDER BY id"
_BY_ID = f"{_CASES} WHERE id = ?"
_INCOMPLETE = f"{_CASES} WHERE images_unread ORDER BY below, margin, study, file LIMIT ?"
_STRONGEST = """
SELECT position FROM flagged_film CROSS JOIN cases ON cases.id = case_id
WHERE NOT below AND due ORDER BY flagged_film.margin, flagged_film.file LIMIT ?
"""
_TOTALS = """
SELECT
    count(*), total(NOT below), total(NOT below AND due), total(images_unread > 0),
    (SELECT count(*) FROM unscreened_study)
FROM cases
"""
_UNSCREENED = "SELECT first, films, reasons FROM unscreened_study ORDER BY first LIMIT ?"


@dataclass(frozen=True, slots=True)
class Case:
    """A study, or one film without a study UID.

    lead: the strongest film, which stands for the study. images: films that count (screened, no duplicates),
    at least one; images_flagged: those of them that are; images_unread: failed films of the study.
    due: at least one film is new tonight, or one that is flagged was never listed: no finished report of an
    earlier night has it. warnings: of all its films, the strongest one's first, each once.
    """

    lead: Verdict
    images: int
    images_flagged: int
    images_unread: int
    due: bool
    warnings: tuple[str, ...]

    @property
    def identity(self) -> Identity:
        """Of the leading film."""
        return self.lead.row.identity

    @property
    def listed(self) -> bool:
        """Stands in `flagged.csv`: flagged, and not only what an earlier night has already reported."""
        return self.lead.flagged and self.due


@dataclass(frozen=True, slots=True)
class UnscreenedStudy:
    """A study with films whose tags say chest, or not what they show, and none of them screened.

    first: the first such film. reasons: in the order of the films, each once.
    """

    first: Verdict
    films: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """How many cases there are, and of them flagged, listed, and incomplete ones (with unread films).

    unscreened_studies: are no cases; see `UnscreenedStudy`.
    """

    cases: int
    flagged: int
    listed: int
    incomplete: int
    unscreened_studies: int


_Member = tuple[Any, ...]
"""A record of `_MEMBERS`."""


class Cases:
    """All studies of a run: `add` every verdict, then `settle` once, then ask.

    A study belongs to one patient (PS3.3 A.1.2): where two patients share a Study Instance UID they are two
    cases, so that neither hides the other. Films without a study UID are a case each.
    """

    def __init__(self, verdicts: Verdicts, scratch: Scratch) -> None:
        """verdicts: asked for single ones when cases are read. scratch: where the index lies."""
        self._verdicts = verdicts
        self._scratch = scratch
        scratch.script(_TABLES)
        self._members = scratch.inserts("INSERT INTO member VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        self._cases = scratch.inserts("INSERT INTO cases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        self._flagged = scratch.inserts("INSERT INTO flagged_film VALUES (?, ?, ?, ?)")
        self._unscreened = scratch.inserts("INSERT INTO unscreened_study VALUES (?, ?, ?)")
        self._ids = count()

    def add(self, position: int, verdict: Verdict) -> None:
        """One verdict, by its place in INPUT order."""
        row = verdict.row
        study = sortable(row.identity.study_instance_uid)
        if verdict.counts:
            flagged, margin = verdict.top.strength
            patient = sortable(row.identity.patient_id)
            codes = ";".join(verdict.warnings)
            place = (sortable(row.file), position, "", 0, row.listed_before)
            film = (study, 1, patient, not flagged, -margin, *place, codes)
            if study:
                self._members.add(film)
            else:
                self._add_case(study, [film], 0)
        # What is skipped and was no chest film says nothing about its study.
        elif study and (verdict.status is not Status.SKIPPED or verdict.may_be_lost):
            what = (position, verdict.status, verdict.may_be_lost, 0, verdict.reason or "")
            self._members.add((study, 0, b"", 0, 0.0, b"", *what))

    def settle(self) -> None:
        """Every verdict was added: put the studies together."""
        self._members.flush()
        for study, members in groupby(self._scratch.select(_MEMBERS), key=itemgetter(0)):
            self._settle_study(study, members)
        for inserts in (self._cases, self._flagged, self._unscreened):
            inserts.flush()

    def _settle_study(self, study: bytes, members: Iterable[_Member]) -> None:
        """members: first what does not count, in INPUT order; then films by patient, strongest first."""
        unread = lost = first_lost = 0
        screened = False
        reasons: dict[str, None] = {}
        for (counts, _), part in groupby(members, key=itemgetter(1, 2)):
            if counts:
                screened = True
                self._add_case(study, part, unread)
                continue
            for *_, position, status, may_be_lost, _, reason in part:
                unread += status == Status.FAILED
                screened |= status == Status.SCREENED  # a duplicate of a film in another study
                if may_be_lost:
                    first_lost = first_lost if lost else position
                    lost += 1
                    reasons[reason] = None
        if lost and not screened:
            self._unscreened.add((first_lost, lost, ";".join(filter(None, reasons))))

    def _add_case(self, study: bytes, films: Iterable[_Member], unread: int) -> None:
        """films: of one case, strongest first; at least one."""
        case_id = next(self._ids)
        lead: _Member | None = None
        images = flagged = 0
        new = unlisted = False
        warnings: dict[str, None] = {}
        for film in films:
            lead = lead or film
            *_, below, margin, file, position, _, _, listed, codes = film
            known = False
            for code in _codes(codes):
                warnings[code] = None
                known |= code == Warn.KNOWN
            images += 1
            new |= not known
            # Each for itself: a film that was listed says nothing about its neighbour that was not.
            unlisted |= not below and not listed
            if not below:
                flagged += 1
                self._flagged.add((margin, file, position, case_id))
        if lead is None:
            raise ValueError("a case without a film")
        *_, below, margin, file, position, _, _, _, _ = lead
        due = new or unlisted
        self._cases.add(
            (case_id, below, margin, study, file, position, images, flagged, unread, due, ";".join(warnings))
        )

    def totals(self) -> Totals:
        """How many there are of what."""
        figures = self._scratch.select(_TOTALS).fetchone()
        return Totals(*map(int, figures))

    def listed(self) -> Iterator[Case]:
        """The cases of `flagged.csv` in reading order: strongest first, then by study UID, then by file."""
        return self._read(_LISTED, -1)

    def left_out(self, limit: int) -> Iterator[Case]:
        """The first cases that are flagged and not listed, in reading order: earlier nights have them."""
        return self._read(_LEFT_OUT, limit)

    def sample(self, number: int, seed: str) -> Iterator[Case]:
        """So many studies that are not flagged, or all, drawn at random; with the same seed the same ones."""
        draw, kept = Random(seed), list[int]()
        for at, (case_id,) in enumerate(self._scratch.select(_QUIET)):
            if at < number:
                kept.append(case_id)
            elif (place := draw.randrange(at + 1)) < number:
                kept[place] = case_id
        for case_id in kept:
            yield from self._read(_BY_ID, case_id)

    def studies(self) -> Iterator[tuple[Case, list[Verdict]]]:
        """Every case that is a study, with its films that count, strongest first; by study, then patient."""
        # Both in the order in which `settle` put the studies together.
        members = groupby(self._scratch.select(_FILMS), key=itemgetter(0, 1))
        for case, (_, films) in zip(self._read(_STUDIES), members, strict=True):
            yield case, [self._verdicts[position] for *_, position in films]

    def without_study(self) -> Iterator[Case]:
        """The films that are cases of their own, in INPUT order."""
        return self._read(_WITHOUT_STUDY)

    def incomplete(self, limit: int) -> Iterator[Case]:
        """The first cases with unread films, in reading order, flagged ones first."""
        return self._read(_INCOMPLETE, limit)

    def listed_leads(self, limit: int) -> list[int]:
        """Where the leading films of the first listed cases stand in INPUT order."""
        return [lead for lead, *_ in self._scratch.select(_LISTED, (limit,))]

    def strongest_films(self, limit: int) -> list[int]:
        """Where the strongest flagged films of listed cases stand in INPUT order, strongest first."""
        return [position for (position,) in self._scratch.select(_STRONGEST, (limit,))]

    def unscreened_studies(self, limit: int) -> list[UnscreenedStudy]:
        """The first of them in INPUT order."""
        return [
            UnscreenedStudy(self._verdicts[first], films, tuple(map(Reason, _codes(reasons))))
            for first, films, reasons in self._scratch.select(_UNSCREENED, (limit,))
        ]

    def _read(self, statement: str, *limit: int) -> Iterator[Case]:
        for lead, images, flagged, unread, due, warnings in self._scratch.select(statement, limit):
            yield Case(self._verdicts[lead], images, flagged, unread, bool(due), tuple(_codes(warnings)))


def _codes(joined: str) -> list[str]:
    return joined.split(";") if joined else []
