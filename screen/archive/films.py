"""The folder of fetched films, and what is known of them: who each was when it was fetched.

FILMS/films/<study>/<film>.dcm    names are hashes of the UIDs: what an archive says names no file
FILMS/fetch.sqlite                patient and study of each film, as the archive had them
FILMS/fetch.csv                   what became of each film of the last complete fetch
FILMS/.drafts/                    films on their way; only whole ones get their name
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

from screen.archive.dicomweb import Instance
from screen.errors import LedgerError, UsageError
from screen.files import new_file, sync_folder
from screen.runs.folder import LEDGER_NAME, held_folder

STATE_NAME = "fetch.sqlite"
FETCH_NAME = "fetch.csv"
_FILMS_NAME = "films"
_DRAFTS_NAME = ".drafts"
_APPLICATION_ID = 0x43585246  # "CXRF"


class Films:
    """An opened folder of films. What an archive lists now lies in a table that is gone with this object."""

    def __init__(self, folder: Path, db: sqlite3.Connection) -> None:
        self._folder = folder
        self._db = db

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Self]:
        """Held by this process alone, made if need be. Raises UsageError and LedgerError."""
        if any((parent / LEDGER_NAME).exists() for parent in folder.resolve().parents):
            raise UsageError(f"{folder}: lies in a run's folder; films and results lie side by side")
        with held_folder(folder, STATE_NAME), _mapped(folder):
            db = sqlite3.connect(folder / STATE_NAME, isolation_level=None)
            try:
                _prepare(db, folder)
                films = cls(folder, db)
                films._make_folders()
                yield films
            finally:
                db.close()

    @property
    def table(self) -> Path:
        """Where fetch.csv lies."""
        return self._folder / FETCH_NAME

    def name(self, instance: Instance) -> str:
        """Its file, below the folder."""
        path = self._path(instance.study_instance_uid, instance.sop_instance_uid)
        return path.relative_to(self._folder).as_posix()

    def list(self, instances: Iterable[Instance]) -> int:
        """The archive has these now. Returns how many of them it had not listed before."""
        records = [
            (i.sop_instance_uid, i.study_instance_uid, i.series_instance_uid, i.patient_id, i.modality)
            for i in instances
        ]
        return self._db.executemany("INSERT OR IGNORE INTO listed VALUES (?, ?, ?, ?, ?)", records).rowcount

    def count_listed(self) -> int:
        """How many it has listed."""
        return int(self._db.execute("SELECT count(*) FROM listed").fetchone()[0])

    def listed(self) -> Iterator[Instance]:
        """What it has listed, study by study."""
        for sop, study, series, patient, modality in self._db.execute(
            "SELECT * FROM listed ORDER BY study, sop"
        ):
            yield Instance(sop, series, study, patient, modality)

    def listed_elsewhere(self, instance: Instance) -> bool:
        """Whether the archive lists the same UID in an earlier study too."""
        found = self._db.execute(
            "SELECT min(study) FROM listed WHERE sop = ?", (instance.sop_instance_uid,)
        ).fetchone()
        return bool(found[0] != instance.study_instance_uid)

    def has(self, instance: Instance) -> bool:
        """Whether it is there, under the patient and study that the archive has now."""
        return (
            self._known(instance)
            == (
                instance.study_instance_uid,
                instance.patient_id,
            )
            and self._path(instance.study_instance_uid, instance.sop_instance_uid).is_file()
        )

    def has_changed(self, instance: Instance) -> bool:
        """Whether it was fetched under another patient or study."""
        return self._known(instance) not in (None, (instance.study_instance_uid, instance.patient_id))

    @contextmanager
    def draft(self, instance: Instance) -> Iterator[BinaryIO]:
        """A film to be written. When the block ends it has its name, and no film of that UID has another."""
        path = self._path(instance.study_instance_uid, instance.sop_instance_uid)
        draft = self._folder / _DRAFTS_NAME / path.name
        try:
            with new_file(draft) as stream:
                yield stream
            known = self._known(instance)
            if known is not None and known[0] != instance.study_instance_uid:
                # First, so that no moment has one film in two studies. Killed here, it is fetched again.
                self._path(known[0], instance.sop_instance_uid).unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(path)
            sync_folder(path.parent)
        finally:
            draft.unlink(missing_ok=True)
        self._db.execute(
            "INSERT OR REPLACE INTO film VALUES (?, ?, ?)",
            (instance.sop_instance_uid, instance.study_instance_uid, instance.patient_id),
        )

    def _known(self, instance: Instance) -> tuple[str, str] | None:
        """Study and patient when it was fetched."""
        found = self._db.execute(
            "SELECT study, patient FROM film WHERE sop = ?", (instance.sop_instance_uid,)
        )
        record = found.fetchone()
        return None if record is None else (str(record[0]), str(record[1]))

    def _path(self, study_instance_uid: str, sop_instance_uid: str) -> Path:
        return self._folder / _FILMS_NAME / _hash(study_instance_uid) / f"{_hash(sop_instance_uid)}.dcm"

    def _make_folders(self) -> None:
        # There from the first on, empty if need be: whoever screens it must not take it for a wrong name.
        (self._folder / _FILMS_NAME).mkdir(exist_ok=True)
        drafts = self._folder / _DRAFTS_NAME
        drafts.mkdir(exist_ok=True)
        for draft in drafts.iterdir():
            draft.unlink()


def _hash(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:32]


def _prepare(db: sqlite3.Connection, folder: Path) -> None:
    if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        db.execute("CREATE TABLE film (sop TEXT PRIMARY KEY, study TEXT NOT NULL, patient TEXT NOT NULL)")
    elif db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        raise LedgerError(f"{folder / STATE_NAME}: not made by screen fetch; choose another --out")
    # Without shared memory, as the ledger's. A power cut costs the last entries: those are fetched again.
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(
        "CREATE TEMP TABLE listed (sop TEXT, study TEXT, series TEXT, patient TEXT, modality TEXT,"
        " PRIMARY KEY (study, sop)) WITHOUT ROWID"
    )
    db.execute("CREATE INDEX temp.listed_sop ON listed (sop)")


@contextmanager
def _mapped(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        path = folder / STATE_NAME
        advice = (
            "make room" if "full" in str(error) else "if it is damaged, remove it: films are fetched again"
        )
        raise LedgerError(f"{path}: {error}; {advice}") from error
    except OSError as error:
        raise LedgerError(
            f"{folder}: films cannot be kept there ({error.strerror}); make room, or see to its disk"
        ) from error
