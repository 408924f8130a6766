"""Ledgers that somebody hands us: input like any other. Nothing in them is believed before it was looked at.

A database may hold views and triggers that run code of its maker's, tables that are none, trees of pages that
lead back into themselves, and values of any type and size. What is refused here is refused before it is used;
nothing is repaired.
"""

import math
import sqlite3
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from pathlib import Path

from screen.codes import Status
from screen.errors import LedgerError
from screen.film import Identity
from screen.ledger.objects import SELECT, DicomObject, is_digest, is_time
from screen.ledger.rows import Inference, Row
from screen.preprocess import Geometry

_LONGEST = 64 << 20
"""Bytes of one value: a run's facts hold the model's card."""
_MOST_OBJECTS = 100
_STEPS = 10_000
"""Of SQLite's machine between two looks at how many are left."""
_FEWEST_STEPS = 10_000_000
_STEPS_PER_BYTE = 4
"""An honest query looks at each row once or twice, and a row has hundreds of bytes."""
_BYTES_PER_ROW = 100
"""At least: a row's digest and its heat map alone have more."""
_LONGEST_ROW = 256 << 10
"""Characters beside the heat map: a path of 64 KiB, each byte of it escaped, and the tags."""
_LARGEST = 3.5e38
"""A float32's."""
_LARGEST_SIDE = 1 << 31
"""Pixels."""

_TABLES = {
    "meta": {"name": "TEXT", "value": "TEXT"},
    "listing": {"position": "INTEGER", "file": "TEXT", "change_token": "TEXT", "path": "BLOB"},
    "rows": {
        "file": "TEXT",
        "change_token": "TEXT",
        "status": "TEXT",
        "reason": "TEXT",
        "sop_instance_uid": "TEXT",
        "pixel_digest": "TEXT",
        "row": "TEXT",
    },
    "timings": {"file": "TEXT", "read_seconds": "REAL", "square_seconds": "REAL"},
}
"""What every ledger of this format has had from the first; later columns and tables may stand beside it."""
_TABLES_SINCE = {3: {"dicom_object": dict.fromkeys(DicomObject.__slots__, "TEXT") | {"earlier": "INTEGER"}}}
"""What came with which version, and is read from ledgers of others."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What rows of one model look like. grid: height and width of its heat map."""

    findings: int
    grid: tuple[int, int]
    weights_digest: str


def open_foreign(path: Path) -> sqlite3.Connection:
    """A database for reading alone, guarded; nothing in it was looked at yet.

    Raises LedgerError if there is no such file, sqlite3.Error if it is none of SQLite's.
    """
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError as error:
        raise LedgerError(f"{path}: no such ledger ({error.strerror})") from error
    if size is None:
        raise LedgerError(f"{path}: no such ledger")
    uri = path.absolute().as_uri()
    try:
        return _opened(f"{uri}?mode=ro", size)
    except sqlite3.OperationalError as error:
        # On a medium that cannot be written SQLite refuses a ledger that a killed run left, though nothing
        # of it stands elsewhere; where a log lies beside it, or somebody holds it, that is another matter.
        beside = any(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-journal"))
        if beside or error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        return _opened(f"{uri}?mode=ro&immutable=1", size)


def _opened(uri: str, size: int) -> sqlite3.Connection:
    db = sqlite3.connect(uri, uri=True, isolation_level=None)
    try:
        guard(db)
        db.execute("PRAGMA query_only = ON")
        budget = _Budget(_FEWEST_STEPS + _STEPS_PER_BYTE * size)
        db.set_progress_handler(budget.is_spent, _STEPS)
        db.set_trace_callback(budget.renew)
        db.execute("SELECT count(*) FROM sqlite_master LIMIT 1").fetchone()
    except BaseException:
        db.close()
        raise
    return db


class _Budget:
    """Steps that one statement may take."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._left = steps

    def renew(self, statement: str) -> None:
        """A statement begins."""
        self._left = self._steps

    def is_spent(self) -> bool:
        """So many more steps were taken; whether the statement is to be broken off."""
        self._left -= _STEPS
        return self._left < 0


def guard(db: sqlite3.Connection) -> None:
    """Before anything is read: what the file itself brings along runs with the rights of nobody."""
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    db.execute("PRAGMA mmap_size = 0")


def check_schema(db: sqlite3.Connection, path: Path, version: int) -> None:
    """Raises LedgerError unless all our tables are there and are tables, and nothing is there that acts."""
    listing = db.execute("SELECT type, name, rootpage, sql FROM sqlite_master LIMIT ?", (_MOST_OBJECTS + 1,))
    objects = listing.fetchall()
    if len(objects) > _MOST_OBJECTS:
        raise LedgerError(f"{path}: more tables than any ledger of screen has")
    tables = set()
    for kind, name, page, sql in objects:
        # A virtual table has no page of its own.
        if kind not in ("table", "index") or type(page) is not int or page < 1 or "VIRTUAL" in str(sql):
            raise LedgerError(f"{path}: no ledger of screen: it has views, triggers or virtual tables")
        if kind == "table":
            tables.add(name)
    added = [of for since, of in _TABLES_SINCE.items() if since <= version]
    for table, columns in chain(_TABLES.items(), *(of.items() for of in added)):
        found = db.execute(f"PRAGMA table_xinfo({table})").fetchall() if table in tables else []
        # Hidden ones are made by an expression when they are read.
        plain = {name: declared for _, name, declared, _, _, _, hidden in found if not hidden}
        if len(plain) < len(found) or not columns.items() <= plain.items():
            raise LedgerError(f"{path}: no ledger of screen: its table '{table}' is another one")


_LOOKUP = (
    "EXPLAIN QUERY PLAN SELECT row FROM rows"
    " WHERE status = 'screened' AND pixel_digest = ? AND sop_instance_uid = ?"
)


def check_results(db: sqlite3.Connection, path: Path, expected: Expected) -> None:
    """Raises LedgerError unless every film's row in it is one of that model's, and found by its film.

    All of them are read, heat maps included (some 25 µs each): a night does not end at the first bad one.
    """
    plan = db.execute(_LOOKUP, ("", "")).fetchall()
    if not all(str(step[3]).startswith("SEARCH") for step in plan):
        raise LedgerError(f"{path}: damaged: its rows cannot be found by their films")
    most = path.stat().st_size // _BYTES_PER_ROW
    found = db.execute("SELECT file, sop_instance_uid, pixel_digest, row FROM rows WHERE status = 'screened'")
    for number, (file, sop_instance_uid, pixel_digest, text) in enumerate(found):
        row = checked_row(text, path, expected)
        if row.inference is not None:
            row.inference.heatmap.grid()
        stands = (row.file, row.identity.sop_instance_uid, row.pixel_digest, row.status)
        if stands != (file, sop_instance_uid, pixel_digest, Status.SCREENED) or number > most:
            raise LedgerError(f"{path}: damaged: a row in it is another's")


def check_objects(db: sqlite3.Connection, path: Path) -> None:
    """Raises LedgerError unless every DICOM object that it tells of is one of ours."""
    most = path.stat().st_size // _BYTES_PER_ROW
    for number, record in enumerate(db.execute(SELECT)):
        checked_object(record, path)
        if number > most:
            raise LedgerError(f"{path}: damaged: a DICOM object in it stands twice")


def checked_object(record: tuple[object, ...], path: Path) -> DicomObject:
    """A DICOM object of which every field has its type and form. Raises LedgerError naming the file."""
    try:
        return DicomObject.from_record(record)
    except ValueError as error:
        raise LedgerError(f"{path}: damaged: a DICOM object in it is none") from error


def checked_row(text: object, path: Path, expected: Expected) -> Row:
    """A row of which every field has its type and range. Raises LedgerError naming the file."""
    try:
        longest = _LONGEST_ROW + 8 * expected.findings * math.prod(expected.grid)
        if not isinstance(text, str) or len(text) > longest:
            raise ValueError("too long, or no text")
        row = Row.from_json(text)
        _check_row(row)
        if row.inference is not None:
            _check_inference(row.inference, expected)
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(f"{path}: damaged: a row in it is none") from error
    return row


def _check_row(row: Row) -> None:
    texts = (
        row.file,
        row.detail,
        row.pixel_digest,
        row.decoder,
        row.decode_policy,
        row.decided_before,
        *row.warnings,
    )
    # Raises for what is no text, and for halves of characters, which JSON can say and nobody can write.
    "".join((*texts, *_identity_fields(row.identity))).encode()
    flags = {type(row.declared_chest), type(row.listed_before)}
    if flags != {bool} or type(row.version) is not int:
        raise ValueError("a field of another type")
    if row.decided_before and not is_decided(row.decided_before):
        raise ValueError("decided at no time")
    if (Status.SCREENED if row.reason is None else row.reason.status) is not row.status:
        raise ValueError("its status and its reason contradict each other")
    if row.geometry is not None:
        _check_geometry(row.geometry)


def is_decided(text: str) -> bool:
    """Whether it is as `Ledger.decided` has it."""
    digest, _, at = text.partition(" ")
    return is_digest(digest) and is_time(at)


_identity_fields = attrgetter(*Identity.__slots__)
_geometry_fields = attrgetter(*Geometry.__slots__)


def _check_geometry(box: Geometry) -> None:
    if set(map(type, _geometry_fields(box))) != {int}:
        raise ValueError("a box of no numbers")
    holds = (
        1 <= box.height <= _LARGEST_SIDE
        and 1 <= box.width <= _LARGEST_SIDE
        and 0 <= box.top < box.top + box.content_height <= box.size <= _LARGEST_SIDE
        and 0 <= box.left < box.left + box.content_width <= box.size
    )
    if not holds:
        raise ValueError("a box outside its square")


def _check_inference(result: Inference, expected: Expected) -> None:
    numbers = (*result.logits, result.gate, result.distance)
    # A NaN is not below anything.
    if set(map(type, numbers)) != {float} or not all(-_LARGEST < number < _LARGEST for number in numbers):
        raise ValueError("a score that is no number")
    heatmap = result.heatmap
    if (
        type(heatmap.data) is not str
        or len(result.logits) != expected.findings
        or heatmap.shape != (expected.findings, *expected.grid)
        or set(map(type, heatmap.shape)) != {int}
        or result.weights_digest != expected.weights_digest
    ):
        raise ValueError("not of this model's shape")
