"""`screen fetch`: what an archive has of some days becomes files, each whole, and none of them twice."""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from screen.archive.connection import AnswerError, Connection, Trouble
from screen.archive.dicomweb import PAGE, DicomWeb, Instance
from screen.archive.films import Films
from screen.archive.settings import Archive
from screen.errors import ArchiveError, InputError, UsageError
from screen.files import LineWriter, csv_file, remove_drafts, whole_file
from screen.runs.progress import Progress
from screen.runs.stopping import Stop, StoppedError
from screen.text import safe_text

COLUMNS = ("sop_instance_uid", "study_instance_uid", "status", "reason")
BAD_UID = "bad_uid"
IN_TWO_STUDIES = "in_two_studies"
LISTING_REPEATS = "listing_repeats"
CHANGED = "changed"
"""Reasons beside `Trouble`: two of films that are not asked for, one of an archive that may have more than it
lists, and one of a film that was fetched anew."""
_LOST = (Trouble.TIMED_OUT, Trouble.CUT_SHORT)
_NOBODY = Instance("", "", "", "", "")
_IN_A_ROW = 5
"""So many failures one after the other: from then on each film has one try until one succeeds."""
_MOST_LISTED = 1_000_000


@dataclass(slots=True)
class Fetched:
    """So far. present: films that were there already."""

    listed: int = 0
    fetched: int = 0
    present: int = 0
    failed: int = 0

    def facts(self, seconds: float) -> dict[str, Any]:
        """All of them."""
        return asdict(self)

    def line(self, seconds: float) -> str:
        """The same in one line."""
        rate = self.fetched / seconds
        return (
            f"{self.listed} listed · {self.fetched} fetched · {self.present} there already · "
            f"{self.failed} failed · {rate:.1f} films/s"
        )


def study_dates(since: str, until: str | None, today: date) -> str:
    """The range of a query: `2d` are today and two days before it; open if `until` is not given.

    Raises UsageError.
    """
    first = _day(since, today)
    last = None if until is None else _day(until, today)
    if last is not None and last < first:
        raise UsageError("--until lies before --since")
    return f"{first:%Y%m%d}-{'' if last is None else f'{last:%Y%m%d}'}"


def _day(text: str, today: date) -> date:
    try:
        if days := re.fullmatch(r"([0-9]{1,5})d", text):
            return today - timedelta(days=int(days[1]))
        return date.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"'{text}' is neither a date (2026-01-31) nor days back from today (2d)") from error


def fetch(
    archive: Archive,
    out: Path,
    dates: str,
    modalities: tuple[str, ...],
    progress: Progress,
    *,
    allow_empty: bool = False,
    connect: Callable[[Archive, Stop], Connection] = Connection,
) -> tuple[int, Fetched]:
    """Fetch what is new or has changed into the folder `out`. Returns the exit code and what was done.

    dates: as of `study_dates`. Raises ScreenError: what was fetched by then stays, and the same goes on.
    """
    counts = Fetched()
    with Stop() as stop, connect(archive, stop) as connection, Films.open(out) as films:
        try:
            films.table.unlink(missing_ok=True)
            remove_drafts(films.table)
            web = DicomWeb(connection)
            progress.event("start", archive=archive.name, out=str(out), dates=dates)
            whole = [_list(web, films, modality, dates) for modality in modalities]
            with csv_file(films.table, COLUMNS, whole_file) as table:
                fetching = _Fetching(web, films, table, counts, progress)
                fetching.run(modalities)
                if not all(whole):
                    fetching.note_failure(_NOBODY, LISTING_REPEATS)
                if not counts.listed and not allow_empty:
                    raise InputError(
                        f"archive '{archive.name}' has no {' or '.join(modalities)} of {dates}: nothing was "
                        "fetched (--allow-empty permits it)"
                    )
        except StoppedError:
            progress.event("stopped", signal=stop.signal, **asdict(counts))
            return stop.exit_code, counts
    code = 3 if counts.failed else 0
    if counts.failed and not counts.fetched + counts.present:
        code = 1
    progress.event("finished", exit_code=code, **asdict(counts))
    return code, counts


def _list(web: DicomWeb, films: Films, modality: str, dates: str) -> bool:
    """Note what a query gives, page by page. False if there may be more than the archive lists."""
    offset = 0
    while page := web.instances(modality, dates, offset):
        if not films.list(page):
            # Asked for the next page, it gives a full one that we have: perhaps it has but one page.
            return len(page) < PAGE or offset == 0
        offset += len(page)
        if offset > _MOST_LISTED:
            raise ArchiveError(f"more than {_MOST_LISTED:,} films are listed: fetch fewer days at once")
    return True


class _Fetching:
    """The way through what is listed: a line in the table for every film."""

    def __init__(
        self, web: DicomWeb, films: Films, table: LineWriter, counts: Fetched, progress: Progress
    ) -> None:
        self._web = web
        self._films = films
        self._table = table
        self._counts = counts
        self._progress = progress
        self._failed_in_a_row = 0

    def run(self, modalities: tuple[str, ...]) -> None:
        """Fetch what is not there. Raises ArchiveError if the archive is gone, OSError, StoppedError."""
        for instance in self._films.listed():
            # An archive may not know the filter; what names no modality was filtered by it.
            if instance.modality not in ("", *modalities):
                continue
            self._counts.listed += 1
            if not instance.has_uids:
                self.note_failure(instance, BAD_UID)
            elif self._films.listed_elsewhere(instance):
                self.note_failure(instance, IN_TWO_STUDIES)
            elif self._films.has(instance):
                self._counts.present += 1
                self._note(instance, "present")
            else:
                self._fetch(instance)
            self._progress.tick(self._counts)

    def _fetch(self, instance: Instance) -> None:
        changed = self._films.has_changed(instance)
        try:
            with self._films.draft(instance) as stream:
                self._web.film(instance, stream, once=self._failed_in_a_row >= _IN_A_ROW)
        except AnswerError as error:
            self._failed_in_a_row += 1
            if error.trouble in _LOST and self._failed_in_a_row > _IN_A_ROW:
                raise
            self.note_failure(instance, error.trouble)
        else:
            self._failed_in_a_row = 0
            self._counts.fetched += 1
            self._note(instance, "fetched", CHANGED if changed else "")

    def note_failure(self, instance: Instance, reason: str) -> None:
        """A film, or something else, that could not be had."""
        self._counts.failed += 1
        self._note(instance, "failed", reason)
        self._progress.event("failed", reason=reason, film=self._films.name(instance))

    def _note(self, instance: Instance, status: str, reason: str = "") -> None:
        uids = (safe_text(instance.sop_instance_uid), safe_text(instance.study_instance_uid))
        self._table.writerow((*uids, status, reason))
