"""`screen send`: a night's DICOM objects into an archive. What the archive says is not believed: it is asked.

An object is stored if the answer to its sending names it, and a query finds it afterwards. The ledger notes
what is about to be sent, for each archive by its address: what was cut off the next send asks for first.
"""

import csv
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from screen.archive.connection import AnswerError, Connection, wait
from screen.archive.dicomweb import DicomWeb, Stored, is_uid
from screen.archive.settings import Archive
from screen.errors import LedgerError, UsageError
from screen.files import csv_file, read_bounded, remove_drafts, whole_file
from screen.ledger import DicomObject, Ledger
from screen.report.writing import DICOM_TABLE, SEND_TABLE
from screen.runs.folder import LEDGER_NAME, locked_folder
from screen.runs.progress import Progress
from screen.runs.stopping import Stop, StoppedError
from screen.text import safe_text, visible

COLUMNS = ("sop_instance_uid", "study_instance_uid", "status", "reason")
PROVED_WITHIN = 60.0
"""Seconds after the last request: some archives index late."""
_LARGEST = 64 << 20
"""Bytes of an object of ours: a hundred times what one takes."""
_IN_A_ROW = 5
"""So many requests that fail one after the other, and the archive is given up."""


class Reason(StrEnum):
    """Why an object is not known to be stored, beside `Trouble`."""

    STUDY_UNKNOWN = "study_unknown"
    PATIENT_DIFFERS = "patient_differs"
    FILE_CHANGED = "file_changed"
    NOT_NAMED = "not_named"
    UNPROVED = "unproved"


_OUR_PART = (Reason.STUDY_UNKNOWN, Reason.PATIENT_DIFFERS, Reason.UNPROVED)
"""Nothing that the archive failed to do."""


@dataclass(slots=True)
class Sent:
    """So far. stored: by this command; present: before it."""

    objects: int = 0
    stored: int = 0
    present: int = 0
    failed: int = 0

    def facts(self, seconds: float) -> dict[str, Any]:
        """All of them."""
        return asdict(self)

    def line(self, seconds: float) -> str:
        """The same in one line."""
        return (
            f"{self.objects} objects · {self.stored} stored · {self.present} there already · "
            f"{self.failed} failed"
        )


def send(
    archive: Archive,
    night: Path,
    progress: Progress,
    *,
    dry_run: bool = False,
    connect: Callable[[Archive, Stop], Connection] = Connection,
    proved_within: float = PROVED_WITHIN,
) -> tuple[int, Sent]:
    """Send what `screen dicom` has made and the archive has not. Returns the exit code and what was done.

    dry_run: the archive is asked, and what would be sent stands in the table as `to_send`.
    Raises ScreenError: what was sent by then is noted, and the same goes on.
    """
    with Stop() as stop, locked_folder(night, create=False), Ledger.open(night / LEDGER_NAME) as ledger:
        table = night / SEND_TABLE
        try:
            objects = _made(night, ledger)
            table.unlink(missing_ok=True)
            remove_drafts(table)
            with connect(archive, stop) as connection:
                progress.event("start", archive=archive.name, night=str(night), objects=len(objects))
                sending = _Sending(archive, night, ledger, DicomWeb(connection), stop, progress)
                sending.run(objects, dry_run=dry_run, proved_within=proved_within)
            with csv_file(table, COLUMNS, whole_file) as lines:
                lines.writerows(sending.lines(objects))
        except StoppedError:
            progress.event("stopped", signal=stop.signal)
            return stop.exit_code, Sent(objects=len(objects))
        except OSError as error:
            raise LedgerError(f"{night}: cannot be worked in ({error.strerror}); make room") from error
    code = sending.exit_code
    progress.event("finished", exit_code=code, **asdict(sending.counts))
    return code, sending.counts


def _made(night: Path, ledger: Ledger) -> list[DicomObject]:
    """The objects of the night's own table, in its order. Raises UsageError if there is none."""
    path = night / DICOM_TABLE
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            uids = [line["sop_instance_uid"] for line in csv.DictReader(stream) if line["status"] == "made"]
    except FileNotFoundError as error:
        raise UsageError(f"{path}: not there; type 'screen dicom {night}' first") from error
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise LedgerError(f"{path}: cannot be read; type 'screen dicom {night}' again") from error
    found = [ledger.dicom_object(uid) for uid in dict.fromkeys(uids)]
    if any(made is None or not is_uid(made.study_instance_uid) for made in found):
        raise LedgerError(f"{path}: names what its ledger does not know; type 'screen dicom {night}' again")
    return [made for made in found if made is not None]


class _Sending:
    """Objects on their way, each of which ends as `stored`, `present`, `to_send` or `failed`."""

    def __init__(
        self, archive: Archive, night: Path, ledger: Ledger, web: DicomWeb, stop: Stop, progress: Progress
    ) -> None:
        self._archive = archive
        self._night = night
        self._ledger = ledger
        self._web = web
        self._stop = stop
        self._progress = progress
        self._ends: dict[str, tuple[str, str]] = {}
        self._failed_in_a_row = 0
        self.counts = Sent()

    def run(self, objects: Sequence[DicomObject], *, dry_run: bool, proved_within: float) -> None:
        """Send what is not there and prove it. Raises ArchiveError, StoppedError, OSError."""
        self.counts.objects = len(objects)
        waiting = [made for made in objects if not self._is_there(made)]
        allowed = list(self._allowed(waiting))
        if dry_run:
            for made in allowed:
                self._end(made, "to_send")
            return
        named: list[DicomObject] = []
        for start in range(0, len(allowed), self._archive.batch):
            named += self._send(allowed[start : start + self._archive.batch])
            self._progress.tick(self.counts)
        self._prove(named, proved_within)

    def lines(self, objects: Sequence[DicomObject]) -> Iterator[tuple[str, ...]]:
        """Of the table, in the objects' order."""
        for made in objects:
            yield (
                made.sop_instance_uid,
                safe_text(made.study_instance_uid),
                *self._ends[made.sop_instance_uid],
            )

    @property
    def exit_code(self) -> int:
        """1: there was something to do, and the archive did nothing of it."""
        reasons = [reason for status, reason in self._ends.values() if status == "failed"]
        if not reasons:
            return 0
        nothing_done = len(reasons) == len(self._ends) and not set(reasons) & set(_OUR_PART)
        return 1 if nothing_done else 3

    def _is_there(self, made: DicomObject) -> bool:
        stored = self._ledger.was_sent(self._archive.url, made.sop_instance_uid)
        if stored is None:
            return False
        if not stored:
            if not self._is_found(made):
                return False
            self._ledger.note_sent(self._archive.url, [made.sop_instance_uid], stored=True)
        self._end(made, "present")
        return True

    def _allowed(self, objects: Sequence[DicomObject]) -> Iterator[DicomObject]:
        """Those whose study the archive has, under the same patient: it would found another, or mix two."""
        patients: dict[str, list[str]] = {}
        for made in objects:
            study = made.study_instance_uid
            if study not in patients:
                patients[study] = self._web.patients_of(study)
            if not patients[study]:
                self._fail(made, Reason.STUDY_UNKNOWN)
            elif set(patients[study]) != {visible(made.patient_id).strip()}:
                self._fail(made, Reason.PATIENT_DIFFERS)
            elif not self._is_whole(made):
                self._fail(made, Reason.FILE_CHANGED)
            else:
                yield made

    def _send(self, batch: Sequence[DicomObject]) -> list[DicomObject]:
        """Those that the archive names as stored; the others have failed."""
        uids = [made.sop_instance_uid for made in batch]
        # Before anything leaves: whoever is killed now must ask first the next time.
        self._ledger.note_sent(self._archive.url, uids, stored=False)
        try:
            answer = self._web.store([self._path(made) for made in batch])
        except AnswerError as error:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= _IN_A_ROW:
                raise
            for made in batch:  # perhaps they were taken: the next send asks
                self._fail(made, error.trouble)
            return []
        self._failed_in_a_row = 0
        named = [made for made in batch if made.sop_instance_uid in answer.stored]
        for made in batch:
            if made.sop_instance_uid in answer.stored:
                continue
            if len(batch) > 1 and made.sop_instance_uid not in answer.refused:
                # One that is refused may take the others with it.
                named += self._send([made])
            else:
                self._refuse(made, answer)
        return named

    def _refuse(self, made: DicomObject, answer: Stored) -> None:
        self._ledger.note_sent(self._archive.url, [made.sop_instance_uid], stored=None)
        code = answer.refused.get(made.sop_instance_uid)
        self._fail(made, Reason.NOT_NAMED if code is None else f"refused_{code:04X}")

    def _prove(self, named: Sequence[DicomObject], proved_within: float) -> None:
        """Ask for each until it is found, or for so many seconds."""
        end = time.monotonic() + proved_within
        pause = 0.5
        while True:
            missing = []
            for made in named:
                if self._is_found(made):
                    self._ledger.note_sent(self._archive.url, [made.sop_instance_uid], stored=True)
                    self._end(made, "stored")
                else:
                    missing.append(made)
                self._progress.tick(self.counts)
            left = end - time.monotonic()
            if not missing or left <= 0:
                break
            wait(min(pause, left), self._stop)
            named, pause = missing, 2 * pause
        for made in missing:
            self._fail(made, Reason.UNPROVED)

    def _is_found(self, made: DicomObject) -> bool:
        return self._web.has(made.study_instance_uid, made.series_instance_uid, made.sop_instance_uid)

    def _is_whole(self, made: DicomObject) -> bool:
        path = self._path(made)
        data = read_bounded(path, _LARGEST) if path.is_file() else None
        return data is not None and hashlib.sha256(data).hexdigest() == made.digest

    def _path(self, made: DicomObject) -> Path:
        return self._night / made.file

    def _fail(self, made: DicomObject, reason: str) -> None:
        self._end(made, "failed", reason)
        self._progress.event("failed", reason=reason, file=made.file)

    def _end(self, made: DicomObject, status: str, reason: str = "") -> None:
        self._ends[made.sop_instance_uid] = (status, reason)
        self.counts.stored += status == "stored"
        self.counts.present += status == "present"
        self.counts.failed += status == "failed"
