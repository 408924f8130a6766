"""`screen dicom`: a finished night's cases as DICOM objects in its folder, and a table of them.

The ledger keeps of each object when its result was decided and which report came before it: made again, it is
equal to the byte. What an earlier night has made, and lent with its results, is not made again.
"""

import re
import shutil
import sqlite3
import tempfile
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from pydicom import Dataset

from screen.archive.capture import SC_CLASS, film_capture
from screen.archive.case_results import NO_UID, CaseResult, result_of, says_of_capture, untold
from screen.archive.headers import DECODE_WITH_HEADER, header_from_json
from screen.archive.objects import WRITER, Stamp, digest_of_file
from screen.archive.structured_report import SR_CLASS, case_report
from screen.archive.uids import digest_of, uid_of
from screen.decide import Case, Cases, Decision, Verdict, decide
from screen.decide.scratch import Scratch
from screen.decode import Decoded
from screen.errors import LedgerError, ModelError, UsageError
from screen.files import (
    LineWriter,
    csv_file,
    read_bounded,
    remove_drafts,
    sync_folder,
    whole_file,
    write_whole,
)
from screen.ledger import DicomObject, Row
from screen.ledger.objects import OBJECTS
from screen.readers.tags import quietly
from screen.report.content import Tally
from screen.report.writing import DICOM_TABLE
from screen.runs.finished import FinishedRun, finished_run
from screen.runs.progress import Progress
from screen.runs.reopen import Reopener
from screen.runs.stopping import Stop, StoppedError, UntilStopped
from screen.text import safe_path, safe_text

COLUMNS = (
    "study_instance_uid", "kind", "sop_class_uid", "sop_instance_uid", "series_instance_uid", "file",
    "status", "reason",
)  # fmt: skip
MADE, KNOWN, SKIPPED, FAILED = "made", "known", "skipped", "failed"
FILM_GONE, DIFFERS = "film_gone", "differs"

_CLASSES = {"sr": SR_CLASS, "sc": SC_CLASS}
_LARGEST = 64 << 20
"""Bytes of an object of ours: a hundred times what one takes."""
_IS_OURS = re.compile(r"2\.25\.\d+\.dcm|\.2\.25\.\d+\.dcm\.\w{8}")
"""Names of objects, and of what a writer left that was killed."""
_ASIDE = ".dicom-"


def make_results(folder: Path, kinds: Collection[str], *, all_cases: bool, progress: Progress) -> int:
    """Make the objects of a finished run and their table; the exit code 0, 3, or that of a signal.

    kinds: of `sr` and `sc`. all_cases: flagged or not. Raises UsageError and LedgerError: nothing was made.
    The table comes last, and an earlier one goes first: without it nobody may go by what lies in the folder.
    """
    with Stop() as stop, finished_run(folder) as run:
        try:
            return _made(run, kinds, all_cases, stop, progress)
        except StoppedError:
            progress.event("stopped", signal=stop.signal)
            return stop.exit_code
        except (OSError, sqlite3.OperationalError) as error:
            trouble = error.strerror if isinstance(error, OSError) else error
            raise LedgerError(
                f"{folder}: DICOM objects cannot be written ({trouble}); mend that and type it again"
            ) from error


def _made(run: FinishedRun, kinds: Collection[str], all_cases: bool, stop: Stop, progress: Progress) -> int:
    decision, decided = _decision_of(run)
    for left in run.folder.glob(f"{_ASIDE}*"):
        shutil.rmtree(left, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=_ASIDE, dir=run.folder))
    try:
        with ExitStack() as stack:
            scratch = stack.enter_context(Scratch(aside))
            verdicts = decide(UntilStopped(run.ledger.listed_rows(), stop), decision, scratch)
            cases, tally = Cases(verdicts, scratch), Tally()
            for position, verdict in enumerate(verdicts):
                tally.add(verdict)
                cases.add(position, verdict)
            cases.settle()
            if tally.exit_code not in (0, 3):
                raise LedgerError(f"{run.folder}: its run has failed: nothing may be made of it")
            (run.folder / DICOM_TABLE).unlink(missing_ok=True)
            remove_drafts(run.folder / DICOM_TABLE)
            (run.folder / OBJECTS).mkdir(exist_ok=True)
            films = Reopener(
                run.ledger, lambda: stack.enter_context(run.open_pool(DECODE_WITH_HEADER)), stop.check
            )
            maker = _Maker(run, decision, decided, frozenset(kinds), films, progress)
            with csv_file(run.folder / DICOM_TABLE, COLUMNS, whole_file) as table:
                maker.make(cases, all_cases, table)
            progress.event("finished", **maker.counts)
            return 3 if maker.counts[FAILED] else 0
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _decision_of(run: FinishedRun) -> tuple[Decision, str]:
    """What the folder's reports were decided with, and `Ledger.decided`. Raises UsageError, LedgerError."""
    folder = run.folder
    if run.facts.identifiers != "full":
        raise UsageError(
            f"{folder}: screened with --identifiers {run.facts.identifiers}: DICOM objects name patients; "
            "screen with --identifiers full"
        )
    if run.card.preprocess.foreign:
        raise LedgerError(f"{folder}: prepared by another version of screen; screen it again with this one")
    kept = run.ledger.decision()
    if kept is None:
        raise LedgerError(f"{folder}: has no reports of its own; type 'screen report {folder}' first")
    try:
        decision, decided = Decision.from_json(kept[0]), run.ledger.decided
    except (ModelError, ValueError, KeyError, TypeError) as error:
        raise LedgerError(f"{folder}: its ledger is damaged; start over with --fresh") from error
    return decision, decided


@dataclass(frozen=True, slots=True)
class _Film:
    """A film that was read again. said: its header as the worker told it."""

    decoded: Decoded
    header: Dataset
    said: str


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An object that is to be made. of: the one film that it shows. before: what the ledger has of it."""

    kind: str
    of: Verdict | None
    says: str
    before: DicomObject | None


@dataclass(slots=True)
class _Job:
    """One case. steps: its lines in the table, and what is still to be made in their places.

    films: read so far, by file; why: what is wrong with those that cannot be used.
    """

    result: CaseResult
    case: Case
    earlier: tuple[DicomObject, ...]
    steps: list[tuple[str, ...] | _Wanted] = field(default_factory=list)
    awaited: set[str] = field(default_factory=set)
    films: dict[str, _Film] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)


class _Maker:
    """Plans cases, has their films read, makes their objects; lines of the table come in the cases' order."""

    def __init__(
        self,
        run: FinishedRun,
        decision: Decision,
        decided: str,
        kinds: frozenset[str],
        films: Reopener,
        progress: Progress,
    ) -> None:
        self._run = run
        self._ledger = run.ledger
        self._decision = decision
        self._decided, _, self._decided_at = decided.partition(" ")
        self._kinds = kinds
        self._films = films
        self._progress = progress
        self._jobs: deque[_Job] = deque()
        self._waiting: dict[str, _Job] = {}
        self._kept: set[str] = set()
        self.counts = dict.fromkeys((MADE, KNOWN, SKIPPED, FAILED), 0)

    def make(self, cases: Cases, all_cases: bool, table: LineWriter) -> None:
        """Every object, and a line for each, and for each film of which none is made."""
        for row, film in self._films.films(self._rows(cases, all_cases, table)):
            job = self._waiting.pop(row.file)
            job.awaited.discard(row.file)
            self._take(job, row, film)
            self._finish(table)
        self._finish(table)
        for case in cases.without_study():
            if case.lead.flagged or all_cases:
                for kind in sorted(self._kinds, reverse=True):
                    self._write(
                        table, _line(case, kind, file=case.lead.row.file, status=SKIPPED, reason=NO_UID)
                    )
        folder = self._run.folder / OBJECTS
        for other in folder.iterdir():
            if _IS_OURS.fullmatch(other.name) and other.name not in self._kept:
                other.unlink()
        sync_folder(folder)

    def _rows(self, cases: Cases, all_cases: bool, table: LineWriter) -> Iterator[Row]:
        """Of the films that are needed."""
        for case, films in cases.studies():
            if not (case.lead.flagged or all_cases):
                continue
            job = self._planned(case, films)
            self._jobs.append(job)
            needed = {verdict.row.file: verdict for verdict in self._needed(job)}
            job.awaited.update(needed)
            self._waiting.update(dict.fromkeys(needed, job))
            self._finish(table)
            for verdict in needed.values():
                yield verdict.row

    def _planned(self, case: Case, films: list[Verdict]) -> _Job:
        """Which objects a case needs, and which of them are there."""
        result = result_of(case, films, self._decision)
        who = case.identity
        job = _Job(result, case, self._ledger.objects_of(who.study_instance_uid, who.patient_id))
        if "sr" in self._kinds and result.groups:
            job.steps.append(self._step(job, "sr", None, digest_of(result.says(self._decision))))
        elif "sr" in self._kinds:
            job.steps.append(_skipped(case, "sr", case.lead, untold(case.lead)))
        for verdict in films:
            if "sc" not in self._kinds or not verdict.flagged:
                continue
            if reason := untold(verdict):
                job.steps.append(_skipped(case, "sc", verdict, reason))
            else:
                says = digest_of(says_of_capture(verdict, self._decision))
                job.steps.append(self._step(job, "sc", verdict, says))
        return job

    def _step(self, job: _Job, kind: str, of: Verdict | None, says: str) -> tuple[str, ...] | _Wanted:
        """The line of an object that is there, or what is to be made."""
        film = "" if of is None else of.row.identity.sop_instance_uid
        same = [made for made in job.earlier if (made.kind, made.film, made.says) == (kind, film, says)]
        before = same[-1] if same else None
        # Without a digest somebody was stopped before it was there.
        if before is not None and before.earlier and before.digest:
            return _line(job.case, kind, before, status=KNOWN)
        if before is not None and self._is_whole(before):
            return self._kept_line(job, before)
        return _Wanted(kind, of, says, before)

    def _is_whole(self, made: DicomObject) -> bool:
        path = self._run.folder / made.file
        data = read_bounded(path, _LARGEST) if path.is_file() else None
        return data is not None and digest_of_file(data) == made.digest

    def _needed(self, job: _Job) -> Iterator[Verdict]:
        for step in job.steps:
            if isinstance(step, _Wanted):
                yield from job.result.films if step.of is None else (step.of,)

    def _take(self, job: _Job, row: Row, film: Decoded | None) -> None:
        if film is None or not _is_same(film, row):
            job.why[row.file] = FILM_GONE
        elif (header := header_from_json(film.header)) is None:
            job.why[row.file] = NO_UID
        else:
            job.films[row.file] = _Film(film, header, film.header)

    def _finish(self, table: LineWriter) -> None:
        """Make the objects of the first cases whose films were all read."""
        while self._jobs and not self._jobs[0].awaited:
            job = self._jobs.popleft()
            for step in job.steps:
                self._write(table, self._object(job, step) if isinstance(step, _Wanted) else step)

    def _object(self, job: _Job, wanted: _Wanted) -> tuple[str, ...]:
        verdicts = job.result.films if wanted.of is None else (wanted.of,)
        for file in (verdict.row.file for verdict in verdicts):
            if reason := job.why.get(file):
                status = FAILED if reason == FILM_GONE else SKIPPED
                return _line(job.case, wanted.kind, file=file, status=status, reason=reason)
        record = self._record(job, wanted, [job.films[verdict.row.file].said for verdict in verdicts])
        # Before the object is there: whoever is killed now makes the same one again.
        self._ledger.put_object(record)
        self._ledger.commit()
        with quietly():
            data = self._bytes_of(job, wanted, record)
        whole = replace(record, digest=digest_of_file(data), earlier=False)
        if record.digest not in ("", whole.digest):
            return _line(job.case, wanted.kind, record, status=FAILED, reason=DIFFERS)
        write_whole(self._run.folder / record.file, data, 0o600)
        self._ledger.put_object(whole)
        self._ledger.commit()
        return self._kept_line(job, whole)

    def _record(self, job: _Job, wanted: _Wanted, headers: list[str]) -> DicomObject:
        """What the ledger keeps of an object: the same as before if it is the same."""
        who, weights = job.case.identity, self._decision.card.weights_digest
        study, patient, before = who.study_instance_uid, who.patient_id, wanted.before
        uid = uid_of("instance", wanted.kind, study, patient, weights, wanted.says, headers, WRITER)
        if before is not None and before.sop_instance_uid == uid:
            return before
        reports = [made for made in job.earlier if made.kind == wanted.kind == "sr" and made.digest]
        reports.sort(key=lambda made: datetime.fromisoformat(made.decided_at))
        return DicomObject(
            sop_instance_uid=uid,
            series_instance_uid=uid_of("series", wanted.kind, study, patient, weights),
            kind=wanted.kind,
            study_instance_uid=study,
            patient_id=patient,
            film="" if wanted.of is None else wanted.of.row.identity.sop_instance_uid,
            says=wanted.says,
            decided_at=self._first_decided(job, wanted),
            predecessor=reports[-1].sop_instance_uid if reports else "",
        )

    def _first_decided(self, job: _Job, wanted: _Wanted) -> str:
        """When this result was: by an earlier night, if that knew all its films and decided alike."""
        if wanted.before is not None:
            return wanted.before.decided_at
        verdicts = job.result.films if wanted.of is None else (wanted.of,)
        marks = [verdict.row.decided_before.partition(" ") for verdict in verdicts]
        # A report that takes another one's place says what that night did not.
        is_first = not any(made.kind == wanted.kind == "sr" for made in job.earlier)
        if is_first and all(digest == self._decided for digest, _, _ in marks):
            return max((at for _, _, at in marks), key=datetime.fromisoformat)
        return self._decided_at

    def _bytes_of(self, job: _Job, wanted: _Wanted, record: DicomObject) -> bytes:
        if wanted.of is not None:
            film = job.films[wanted.of.row.file]
            return film_capture(wanted.of, film.decoded.square, film.header, self._decision, Stamp(record))
        headers = {film.header.SOPInstanceUID: film.header for film in job.films.values()}
        before = [made for made in job.earlier if made.sop_instance_uid == record.predecessor]
        return case_report(job.result, headers, self._decision, Stamp(record, before[0] if before else None))

    def _kept_line(self, job: _Job, made: DicomObject) -> tuple[str, ...]:
        self._kept.add(Path(made.file).name)
        return _line(job.case, made.kind, made, file=made.file, status=MADE)

    def _write(self, table: LineWriter, line: tuple[str, ...]) -> None:
        *_, file, status, reason = line
        self.counts[status] += 1
        if status == FAILED:
            self._progress.event("failed", file=file, reason=reason)
        table.writerow(line)


def _is_same(film: Decoded, row: Row) -> bool:
    """Whether it is still that film of that patient; its pixels were looked at already."""
    now, then = film.identity, row.identity
    return (now.patient_id, now.study_instance_uid, now.series_instance_uid, now.sop_instance_uid) == (
        then.patient_id, then.study_instance_uid, then.series_instance_uid, then.sop_instance_uid
    )  # fmt: skip


def _skipped(case: Case, kind: str, film: Verdict, reason: str) -> tuple[str, ...]:
    return _line(case, kind, file=film.row.file, status=SKIPPED, reason=reason)


def _line(
    case: Case, kind: str, made: DicomObject | None = None, *, status: str, file: str = "", reason: str = ""
) -> tuple[str, ...]:
    """file: the object's, relative to the folder; where none was made, the film's that it would tell of."""
    return (
        safe_text(case.identity.study_instance_uid),
        kind,
        _CLASSES[kind],
        made.sop_instance_uid if made else "",
        made.series_instance_uid if made else "",
        safe_path(file),
        status,
        reason,
    )
