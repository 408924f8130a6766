"""The run's memory: one SQLite file. Rows by source, what INPUT listed last, and the run's settings.

A row is committed together with its source's change token. A later run reuses it if the token is the same, so
that a stop at any moment costs at most the uncommitted tail. One process writes (the folder's lock sees to
it); the exclusive locking mode keeps the write-ahead log free of shared memory, so it is safe on network
disks. When closed in order, `ledger.sqlite` is one plain file again that may be copied or archived.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

from screen.codes import UNREACHABLE, Reason, Status
from screen.errors import LedgerError
from screen.ledger.foreign import (
    Expected,
    check_objects,
    check_results,
    check_schema,
    checked_object,
    checked_row,
    guard,
    is_decided,
    open_foreign,
)
from screen.ledger.objects import INSERT, SELECT, DicomObject
from screen.ledger.rows import FilmKey, Row

_APPLICATION_ID = 0x43585253  # "CXRS"
_VERSION = 4

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE listing (
    position INTEGER PRIMARY KEY, file TEXT NOT NULL UNIQUE, change_token TEXT NOT NULL, path BLOB
);
CREATE TABLE rows (
    file TEXT PRIMARY KEY, change_token TEXT NOT NULL, status TEXT NOT NULL, reason TEXT,
    sop_instance_uid TEXT NOT NULL, pixel_digest TEXT NOT NULL, row TEXT NOT NULL
);
CREATE INDEX rows_by_content ON rows (pixel_digest, sop_instance_uid) WHERE status = 'screened';
CREATE TABLE timings (file TEXT PRIMARY KEY, read_seconds REAL NOT NULL, square_seconds REAL NOT NULL);
"""
_SINCE_VERSION_2 = """
CREATE TABLE listed_case (
    study TEXT NOT NULL, patient TEXT NOT NULL, image TEXT NOT NULL, PRIMARY KEY (study, patient, image)
) WITHOUT ROWID;
"""

_SINCE_VERSION_3 = """
CREATE TABLE dicom_object (
    sop_instance_uid TEXT PRIMARY KEY, series_instance_uid TEXT NOT NULL, kind TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL, patient_id TEXT NOT NULL, film TEXT NOT NULL, says TEXT NOT NULL,
    decided_at TEXT NOT NULL, predecessor TEXT NOT NULL, digest TEXT NOT NULL, earlier INTEGER NOT NULL
);
CREATE INDEX dicom_object_by_case ON dicom_object (study_instance_uid, patient_id);
"""
_SINCE_VERSION_4 = """
CREATE TABLE sent_object (
    archive TEXT NOT NULL, sop_instance_uid TEXT NOT NULL, stored INTEGER NOT NULL,
    PRIMARY KEY (archive, sop_instance_uid)
) WITHOUT ROWID;
"""
_SINCE = {2: _SINCE_VERSION_2, 3: _SINCE_VERSION_3, 4: _SINCE_VERSION_4}
"""What each version of the format has added to the first."""
_MOST_OBJECTS_OF_A_CASE = 10_000

TRANSIENT = UNREACHABLE | {Reason.CHANGED_WHILE_READ, Reason.READER_ERROR}
"""What a plain rerun tries again: the disk or this program may be mended, the file itself need not change."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that one file cost its worker."""

    read: float
    square: float


class ListedFile(NamedTuple):
    """A file that INPUT listed, and its row. place: among all files. path: None if it is not to be known.

    text: the row as it is kept, JSON.
    """

    place: int
    change_token: str
    path: Path | None
    row: Row
    text: str


class Ledger:
    """An open ledger. Nothing is durable before `commit`. All errors of SQLite leave as LedgerError."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self._path = path
        self._version = _VERSION
        self._expected: Expected | None = None

    @classmethod
    def open(cls, path: Path) -> Self:
        """The ledger for writing, created if need be. The folder's lock must be held."""
        with _mapped(path):
            ledger = cls(sqlite3.connect(path, isolation_level=None), path)
            try:
                ledger._prepare()
            except BaseException:
                ledger._db.close()
                raise
            return ledger

    @classmethod
    def open_readonly(cls, path: Path) -> Self:
        """An earlier night's ledger. Raises LedgerError if it is none."""
        with _mapped(path):
            db = open_foreign(path)
            ledger = cls(db, path)
            try:
                ledger._check_format()
            except BaseException:
                db.close()
                raise
            return ledger

    def expect(self, expected: Expected) -> None:
        """From now on every row that is read is looked at; it may be anybody's."""
        self._expected = expected

    def check_results(self, expected: Expected) -> None:
        """`expect`, and raise LedgerError now if a film's row is not one of that model's."""
        self.expect(expected)
        with _mapped(self._path):
            check_results(self._db, self._path, expected)
            if self._version >= 3:
                check_objects(self._db, self._path)

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self._path

    @staticmethod
    def remove(path: Path) -> None:
        """Forget everything: the file and SQLite's side files."""
        for suffix in ("", "-wal", "-shm", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)

    def _prepare(self) -> None:
        guard(self._db)
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        empty = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not empty:
            self._check_format()
        self._db.execute("PRAGMA journal_mode = WAL")
        # NORMAL survives every crash of ours; a power cut costs the last commits, which are screened again.
        self._db.execute("PRAGMA synchronous = NORMAL")
        # In a file without a name, gone with this connection: for pictures, where names must not be kept.
        self._db.execute("CREATE TEMP TABLE secret_path (position INTEGER PRIMARY KEY, path BLOB NOT NULL)")
        self._db.execute("BEGIN IMMEDIATE")
        if empty:
            self._create(_SCHEMA)
            self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        for version, schema in _SINCE.items():
            if empty or self._version < version:
                self._create(schema)
        self._db.execute(f"PRAGMA user_version = {_VERSION}")
        self._version = _VERSION

    def _create(self, schema: str) -> None:
        for statement in filter(str.strip, schema.split(";")):
            self._db.execute(statement)

    def _check_format(self) -> None:
        application, version = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if application != _APPLICATION_ID:
            raise LedgerError(f"{self._path}: not a ledger of screen")
        if version > _VERSION:
            raise LedgerError(f"{self._path}: written by a newer version of screen; update this one")
        self._version = version
        check_schema(self._db, self._path, version)

    def commit(self) -> None:
        """Make everything so far durable."""
        with _mapped(self._path):
            self._db.execute("COMMIT")
            self._db.execute("BEGIN IMMEDIATE")

    def roll_back(self) -> None:
        """Drop what is not committed."""
        with _mapped(self._path):
            self._db.execute("ROLLBACK")
            self._db.execute("BEGIN IMMEDIATE")

    def close(self) -> None:
        """Drop what is not committed and leave one plain file."""
        with _mapped(self._path):
            try:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                    self._db.execute("PRAGMA journal_mode = DELETE")
            finally:
                self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def meta(self, name: str) -> str | None:
        """A fact about the run, as text; None if it was never set."""
        with _mapped(self._path):
            found = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def set_meta(self, name: str, value: str | None) -> None:
        """Keep a fact about the run; None forgets it."""
        with _mapped(self._path):
            if value is None:
                self._db.execute("DELETE FROM meta WHERE name = ?", (name,))
            else:
                self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def settings(self) -> dict[str, str]:
        """What all rows have in common (weights, device, …); empty for a new ledger."""
        try:
            settings = json.loads(self.meta("settings") or "{}")
        except (ValueError, RecursionError):
            settings = None
        if not isinstance(settings, dict) or not all(isinstance(value, str) for value in settings.values()):
            raise LedgerError(f"{self._path}: its settings are damaged; start over with --fresh")
        return settings

    def set_settings(self, settings: dict[str, str]) -> None:
        """Fix what all rows have in common."""
        self.set_meta("settings", json.dumps(settings, sort_keys=True))

    def clear_listing(self) -> None:
        """INPUT is about to be listed anew; until `set_meta("facts", …)` the run is unfinished."""
        self.set_meta("facts", None)
        with _mapped(self._path):
            self._db.execute("DELETE FROM listing")
            self._db.execute("DELETE FROM temp.secret_path")

    def list_file(
        self, position: int, file: str, change_token: str, path: Path | None, *, secret: bool = False
    ) -> bool:
        """INPUT lists this file, in this place; False if it was listed before, and its first place stands.

        path: absolute; None if nobody will want it. secret: forgotten when this ledger is closed.
        """
        raw = None if path is None else os.fsencode(path)
        record = (position, file, change_token, None if secret else raw)
        with _mapped(self._path):
            done = self._db.execute(_LIST, record)
            if done.rowcount == 1 and secret and raw is not None:
                self._db.execute("INSERT INTO temp.secret_path VALUES (?, ?)", (position, raw))
        return done.rowcount == 1

    def standing(self, file: str, change_token: str, *, retry_failed: bool) -> Status | None:
        """The status of the file's row if it may stand: same token, no failure worth another try."""
        with _mapped(self._path):
            found = self._db.execute(
                "SELECT status, reason FROM rows WHERE file = ? AND change_token = ?", (file, change_token)
            ).fetchone()
        if found is None:
            return None
        status, reason = Status(found[0]), found[1]
        repeat = status is Status.FAILED and (retry_failed or reason in TRANSIENT)
        return None if repeat else status

    def put(self, row: Row, change_token: str, timing: Timing | None = None) -> None:
        """Keep a file's result; it replaces an earlier one."""
        record = _record(row, change_token, row.to_json())
        with _mapped(self._path):
            self._db.execute(_PUT, record)
            if timing is not None:
                measured = (row.file, timing.read, timing.square)
                self._db.execute("INSERT OR REPLACE INTO timings VALUES (?, ?, ?)", measured)

    def take(self, position: int, listed: ListedFile) -> bool:
        """List another ledger's file in this place, with its row as it stands there.

        False if a file of that name was listed before: then nothing is kept.
        """
        raw = None if listed.path is None else os.fsencode(listed.path)
        with _mapped(self._path):
            done = self._db.execute(_LIST, (position, listed.row.file, listed.change_token, raw))
            if done.rowcount == 1:
                self._db.execute(_PUT, _record(listed.row, listed.change_token, listed.text))
        return done.rowcount == 1

    def same_content(
        self, sop_instance_uid: str, pixel_digest: str, of: tuple[str, str] | None = None
    ) -> Row | None:
        """A screened row of the same film, whatever its file. of: patient and study that it must have."""
        patient, study = of or (None, None)
        with _mapped(self._path):
            found = self._db.execute(
                "SELECT row FROM rows"
                " WHERE status = 'screened' AND pixel_digest = ?1 AND sop_instance_uid = ?2"
                " AND (?3 IS NULL OR json_extract(row, '$.identity.patient_id') = ?3)"
                " AND (?4 IS NULL OR json_extract(row, '$.identity.study_instance_uid') = ?4) LIMIT 1",
                (pixel_digest, sop_instance_uid, patient, study),
            ).fetchone()
        return None if found is None else self._row(found[0])

    def same_film(self, row: Row, of: tuple[str, str] | None = None) -> Row | None:
        """As `same_content`, in another night's ledger. Raises LedgerError if it gives another film's row."""
        content = (row.identity.sop_instance_uid, row.pixel_digest)
        found = self.same_content(*content, of=of)
        if found is not None:
            whose = (found.identity.patient_id, found.identity.study_instance_uid)
            # An index may lead to another film's row.
            if (found.identity.sop_instance_uid, found.pixel_digest) != content or whose != (of or whose):
                raise LedgerError(f"{self.path}: damaged: a row in it is another's")
        return found

    def has_failed(self, file: str, change_token: str, reason: Reason | None) -> bool:
        """Whether this very file failed for this reason."""
        with _mapped(self._path):
            found = self._db.execute(
                "SELECT 1 FROM rows WHERE file = ? AND change_token = ? AND status = 'failed' AND reason = ?",
                (file, change_token, reason),
            ).fetchone()
        return found is not None

    def mark_listed(self, lead: Row) -> None:
        """The run's own report lists the case of this film as flagged."""
        with _mapped(self._path):
            self._db.execute("INSERT OR IGNORE INTO listed_case VALUES (?, ?, ?)", _case_key(lead))

    def forget_reports(self) -> None:
        """The run's own reports go: nobody has read of its cases, and nothing is decided. Durable at once."""
        with _mapped(self._path):
            forgotten = self._db.execute("DELETE FROM listed_case").rowcount
        if forgotten or self.decision():
            self.keep_decision(None)

    def decision(self) -> tuple[str, str] | None:
        """The decision of the folder's own reports, as it was kept, and when it was made (ISO 8601)."""
        text, at = self.meta("decision"), self.meta("decided_at")
        return None if text is None or at is None else (text, at)

    @property
    def decided(self) -> str:
        """How and when its reports were decided: the decision's SHA-256, a blank, the time; or empty.

        Raises LedgerError if the time is none.
        """
        kept = self.decision()
        if kept is None:
            return ""
        text, at = kept
        decided = f"{hashlib.sha256(text.encode()).hexdigest()} {at}"
        if not is_decided(decided):
            raise LedgerError(f"{self._path}: damaged: when it was decided is no time")
        return decided

    def keep_decision(self, decided: tuple[str, str] | None) -> None:
        """Keep it, or forget it before the reports change. Durable at once."""
        for name, value in zip(("decision", "decided_at"), decided or (None, None), strict=True):
            self.set_meta(name, value)
        self.commit()

    def was_listed(self, row: Row) -> bool:
        """Whether a finished report, of this ledger's run or of one before it, has listed the row's case."""
        if row.listed_before or self._version < 2:
            return row.listed_before
        with _mapped(self._path):
            found = self._db.execute(
                "SELECT 1 FROM listed_case WHERE study = ? AND patient = ? AND image = ?", _case_key(row)
            ).fetchone()
        return found is not None

    def put_object(self, made: DicomObject) -> None:
        """Keep a DICOM result; of one that is kept already, its digest, and that it was made here."""
        with _mapped(self._path):
            self._db.execute(
                f"{INSERT} ON CONFLICT (sop_instance_uid)"
                " DO UPDATE SET digest = excluded.digest, earlier = excluded.earlier",
                astuple(made),
            )

    def put_earlier_objects(self, objects: Iterable[DicomObject]) -> None:
        """Keep what earlier nights have made; what is kept already stays as it is."""
        records = [astuple(replace(made, earlier=True)) for made in objects]
        with _mapped(self._path):
            self._db.executemany(f"{INSERT} ON CONFLICT DO NOTHING", records)

    def objects_of(self, study_instance_uid: str, patient_id: str) -> tuple[DicomObject, ...]:
        """The DICOM results that were made of a case, in the order in which they were kept."""
        if self._version < 3:
            return ()
        with _mapped(self._path):
            found = self._db.execute(
                f"{SELECT} WHERE study_instance_uid = ? AND patient_id = ? ORDER BY rowid LIMIT ?",
                (study_instance_uid, patient_id, _MOST_OBJECTS_OF_A_CASE),
            ).fetchall()
        objects = tuple(checked_object(record, self._path) for record in found)
        # An index may lead to another case's.
        if any((o.study_instance_uid, o.patient_id) != (study_instance_uid, patient_id) for o in objects):
            raise LedgerError(f"{self._path}: damaged: a DICOM object in it is another's")
        return objects

    def dicom_object(self, sop_instance_uid: str) -> DicomObject | None:
        """The DICOM result of that UID."""
        with _mapped(self._path):
            record = self._db.execute(f"{SELECT} WHERE sop_instance_uid = ?", (sop_instance_uid,)).fetchone()
        return None if record is None else checked_object(record, self._path)

    def note_sent(self, archive: str, sop_instance_uids: Iterable[str], stored: bool | None) -> None:
        """What the archive of that address has of these: perhaps (False), for certain, or nothing (None).

        Durable at once.
        """
        with _mapped(self._path):
            for uid in sop_instance_uids:
                if stored is None:
                    self._db.execute(
                        "DELETE FROM sent_object WHERE archive = ? AND sop_instance_uid = ?", (archive, uid)
                    )
                else:
                    self._db.execute(
                        "INSERT OR REPLACE INTO sent_object VALUES (?, ?, ?)", (archive, uid, stored)
                    )
        self.commit()

    def was_sent(self, archive: str, sop_instance_uid: str) -> bool | None:
        """As it was noted; None if it was not."""
        with _mapped(self._path):
            found = self._db.execute(
                "SELECT stored FROM sent_object WHERE archive = ? AND sop_instance_uid = ?",
                (archive, sop_instance_uid),
            ).fetchone()
        return None if found is None else found[0] == 1

    def count_screened(self) -> int:
        """Rows with a score, listed or not."""
        with _mapped(self._path):
            found = self._db.execute("SELECT count(*) FROM rows WHERE status = 'screened'").fetchone()
        return int(found[0])

    def listed_rows(self) -> "ListedRows":
        """The rows of what INPUT lists, in INPUT order. Nothing may be put while they are read."""
        return ListedRows(self)

    def rows_from(self, position: int, count: int) -> Iterator[Row]:
        """Up to `count` listed rows from a place in INPUT order on, streamed; -1 stands for all of them."""
        return (listed.row for listed in self.listed_files(position, count))

    def listed_files(self, position: int = 0, count: int = -1) -> Iterator[ListedFile]:
        """As `rows_from`, with what the listing says of each."""
        with _mapped(self._path):
            last = -1
            for place, file, token, path, text in self._db.execute(
                "SELECT position, listing.file, listing.change_token, path, rows.row"
                " FROM listing LEFT JOIN rows"
                " ON rows.file = listing.file AND rows.change_token = listing.change_token"
                " WHERE position >= ? ORDER BY position LIMIT ?",
                (position, count),
            ):
                last = self._after(last, place)
                if text is None and self._expected is not None:
                    raise LedgerError(f"{self._path}: damaged: it lists {file!r:.200} without a result")
                if text is None:
                    raise RuntimeError(f"{file}: listed, but without a result")  # a bug: never report less
                row = self._row(text)
                if self._expected is not None and (row.file != file or not isinstance(token, str)):
                    raise self._damaged()
                yield ListedFile(place, token, _path(path), row, text)

    def listed_film_keys(self) -> Iterator[FilmKey]:
        """The keys of listed rows that are screened and have pixels, in INPUT order."""
        with _mapped(self._path):
            last = -1
            for position, uid, identity, digest, result, declared_chest in self._db.execute(
                "SELECT position, sop_instance_uid, json_extract(row, '$.identity'), pixel_digest,"
                " json_type(row, '$.inference'), json_extract(row, '$.declared_chest')"
                " FROM listing CROSS JOIN rows"
                " ON rows.file = listing.file AND rows.change_token = listing.change_token"
                " WHERE status = 'screened' AND pixel_digest <> '' ORDER BY position"
            ):
                last = self._after(last, position)
                try:
                    plain = json.loads(identity)
                    whose = f"{plain['patient_id']}\0{plain['study_instance_uid']}"
                except (ValueError, KeyError, TypeError, RecursionError) as error:
                    raise self._damaged() from error
                yield FilmKey(position, uid, whose, digest, result == "object", bool(declared_chest))

    def listed_timings(self) -> Iterator[tuple[str, float, float]]:
        """(file, read seconds, square seconds) of listed files that were decoded, in INPUT order."""
        with _mapped(self._path):
            yield from self._db.execute(
                "SELECT file, read_seconds, square_seconds"
                " FROM listing JOIN timings USING (file) ORDER BY position"
            )

    def path_of(self, file: str) -> Path | None:
        """Where a listed file lies; None if it is not listed, or was in secret and in an earlier run."""
        with _mapped(self._path):
            found = self._db.execute(
                "SELECT coalesce(listing.path, secret_path.path)"
                " FROM listing LEFT JOIN temp.secret_path USING (position) WHERE file = ?",
                (file,),
            ).fetchone()
        return None if found is None else _path(found[0])

    def _row(self, text: str) -> Row:
        if self._expected is not None:
            return checked_row(text, self._path, self._expected)
        try:
            return Row.from_json(text)
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged() from error

    def _after(self, last: int, place: object) -> int:
        """The place, if it comes after the last one: a damaged tree of pages may lead round for ever."""
        if not isinstance(place, int) or place <= last:
            raise self._damaged()
        return place

    def _damaged(self) -> LedgerError:
        return LedgerError(f"{self._path}: a row in it is damaged; start over with --fresh")


_LIST = "INSERT OR IGNORE INTO listing VALUES (?, ?, ?, ?)"
_PUT = "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)"


def _record(row: Row, change_token: str, text: str) -> tuple[object, ...]:
    """What `_PUT` takes."""
    content = row.identity.sop_instance_uid, row.pixel_digest
    return row.file, change_token, row.status, row.reason, *content, text


def _path(raw: object) -> Path | None:
    return Path(os.fsdecode(raw)) if isinstance(raw, bytes) else None


class ListedRows:
    """What a ledger lists, in INPUT order: read anew each time, so that any number of rows fits."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __iter__(self) -> Iterator[Row]:
        return self._ledger.rows_from(0, -1)

    def __getitem__(self, position: int) -> Row:
        """One row by its place, from 0. Raises IndexError."""
        for row in self._ledger.rows_from(position, 1):
            return row
        raise IndexError(position)

    def film_keys(self) -> Iterator[FilmKey]:
        """Of the films among them, without reading whole rows."""
        return self._ledger.listed_film_keys()


_ADVICE = {
    "full": "make room and run again",
    "malformed JSON": "a row in it is damaged, start over with --fresh",
    "locked": "another run is at work with it, wait for it",
    "interrupted": "it is damaged, or made so that a query does not end",
}


@contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "decode to UTF-8" in str(error):
            # It quotes the whole text: a row, say, with its patient.
            raise LedgerError(f"{path}: damaged: a text in it is none; start over with --fresh") from None
        advice = next((text for word, text in _ADVICE.items() if word in str(error)), "is its disk writable?")
        raise LedgerError(f"{path}: {error}; {advice}") from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
            raise
        raise LedgerError(f"{path}: {error}; start over with --fresh") from error
    except UnicodeDecodeError as error:
        # What SQLite says of a damaged schema quotes its bytes.
        raise LedgerError(f"{path}: its schema is damaged; start over with --fresh") from error


def _case_key(row: Row) -> tuple[str, str, str]:
    """Study and patient; a film without a study is a case of its own, by its pixels."""
    study = row.identity.study_instance_uid
    return study, row.identity.patient_id, "" if study else row.pixel_digest
